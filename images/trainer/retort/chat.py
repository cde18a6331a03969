"""Rows as a conversation, and a conversation as tokens: the one place that knows the chat template.

Serving goes through the same template, and the evaluator checks that both came to the same prompt.
"""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from retort.data import Row
from retort.errors import UserError

IGNORED = -100  # torch's cross_entropy leaves such labels out


@dataclass(frozen=True)
class Example:
    """One row as tokens. `labels` is `ids` with IGNORED where nothing is learned: the prompt."""

    ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def targets(self) -> int:
        """Tokens that count towards the loss. The first token of a row is never predicted."""
        return sum(label != IGNORED for label in self.labels[1:])


def question(row: Row, self_critique_format: str) -> str:
    """What the user says in a training row.

    Format `answer`: the instruction alone. `revise`: the instruction, the bad answer and its critique.
    """
    if row.kind != "selfCritique" or self_critique_format == "answer":
        return row.instruction
    return (
        f"{row.instruction}\n\nAn earlier answer was:\n{row.bad_answer}\n\n"
        f"It was criticised:\n{row.critique}\n\nGive the corrected answer only."
    )


def prompt_ids(tokenizer: PreTrainedTokenizerBase, instruction: str) -> list[int]:
    """The tokens a server feeds the model for this instruction: up to where the assistant starts to speak."""
    return _template(tokenizer, [{"role": "user", "content": instruction}], add_generation_prompt=True)


def encode(tokenizer: PreTrainedTokenizerBase, instruction: str, answer: str) -> Example:
    """Learns the answer and the token that ends it, nothing before and nothing after.

    Raises UserError if the template writes another prompt once an answer follows: no loss mask would be right then.
    """
    prompt = prompt_ids(tokenizer, instruction)
    turns = [{"role": "user", "content": instruction}, {"role": "assistant", "content": answer}]
    whole = _template(tokenizer, turns, add_generation_prompt=False)
    if whole[: len(prompt)] != prompt:
        raise UserError("the chat template changes the prompt once an answer follows: it cannot be trained on")
    spoken = _through_end(whole[len(prompt) :], tokenizer)
    return Example(prompt + spoken, [IGNORED] * len(prompt) + spoken)


def _through_end(spoken: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Cuts what the template puts after the end token (a line break, mostly); adds the end token where it puts none."""
    end = tokenizer.eos_token_id
    assert isinstance(end, int)
    if end not in spoken:
        return [*spoken, end]
    return spoken[: len(spoken) - spoken[::-1].index(end)]


def _template(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], **options: Any) -> list[int]:
    return list(tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False, **options))  # type: ignore[arg-type]
