"""Which rows are learned, which are held out, in which order, and what of a row is learned."""

import json
from pathlib import Path

import pytest
import torch
from conftest import write_rows
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase
from transformers.optimization import get_scheduler

from retort import dataset
from retort.chat import IGNORED, Example, encode, prompt_ids, question
from retort.data import DataError, Row, instruction_key
from retort.early_stopping import EarlyStopping
from retort.update import learning_rate

DATA = {"maxTokens": 2048, "selfCritiqueFormat": "answer", "rowLimit": None}
TRAIN = {"validationSplit": 0.1, "seed": 17}


def test_only_the_answer_and_its_end_token_are_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    example = encode(tokenizer, "Say hi.", "hi")
    prompt = tokenizer.decode(example.ids[: len(prompt_ids(tokenizer, "Say hi."))])
    learned = [label for label in example.labels if label != IGNORED]
    assert prompt == "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(learned) == "hi<|im_end|>"  # and not the line break that the template puts after it
    assert learned[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id  # masking by pad token would lose it
    assert example.targets == len(learned) == 3


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    before = tokenizer.chat_template
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    try:
        with pytest.raises(ValueError, match="the chat template changes the prompt once an answer follows"):
            encode(tokenizer, "Say hi.", "hi")
    finally:
        tokenizer.chat_template = before


def test_bad_rows_of_a_remote_file_are_named_by_its_uri(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    copy = tmp_path / "hardFailures.jsonl"
    copy.write_text("{}\n")
    with pytest.raises(DataError) as caught:
        dataset.build({"hardFailures": copy}, tokenizer, DATA, TRAIN, called={"hardFailures": "s3://team/rows.jsonl"})
    assert caught.value.problems
    assert all(problem.startswith("s3://team/rows.jsonl:1: ") for problem in caught.value.problems)


def test_a_self_critique_row_is_asked_plainly_or_with_its_critique() -> None:
    row = Row("selfCritique", 1, "Add 1 and 2.", "3", bad_answer="4", critique="Off by one.")
    assert question(row, "answer") == "Add 1 and 2."
    assert question(row, "revise") == (
        "Add 1 and 2.\n\nAn earlier answer was:\n4\n\n"
        "It was criticised:\nOff by one.\n\nGive the corrected answer only."
    )


@given(
    st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=2, max_size=200),
    st.floats(0.01, 0.5),
    st.integers(0, 9),
)
def test_a_split_takes_whole_instructions_and_about_its_share(letters: list[str], share: float, seed: int) -> None:
    held_out = dataset.validation_keys(letters, share, seed)
    rows = sum(letter in held_out for letter in letters)
    largest = max(letters.count(letter) for letter in letters)
    wanted = max(1, round(share * len(letters)))
    assert held_out
    assert wanted <= rows < wanted + largest
    assert dataset.validation_keys(letters[::-1], share, seed) == held_out


def test_no_instruction_is_on_both_sides_of_the_split(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = write_rows(tmp_path / "a.jsonl", 40)
    twice = tmp_path / "b.jsonl"  # the same instructions, answered otherwise
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    critiqued = [
        {"instruction": f"  {r['instruction']}\n", "input": "x", "output": "y", "meta": {"critique": "z"}}
        for r in lines
    ]
    twice.write_text("".join(json.dumps(r) + "\n" for r in critiqued))
    made = dataset.build({"hardFailures": rows, "selfCritique": twice}, tokenizer, DATA, TRAIN)
    assert (len(made.train), len(made.validation)) == (72, 8)

    def asked(examples: list[Example]) -> set[str]:
        texts = [
            tokenizer.decode([t for t, label in zip(e.ids, e.labels, strict=True) if label == IGNORED])
            for e in examples
        ]
        return {instruction_key(str(text).split("<|im_end|>")[0].removeprefix("<|im_start|>user\n")) for text in texts}

    assert len(asked(made.validation)) == 4
    assert not asked(made.train) & asked(made.validation)
    assert set(made.keys) == asked(made.train) | asked(made.validation)


def test_a_row_that_is_too_long_is_left_out_whole_and_too_many_stop_the_run(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = write_rows(tmp_path / "a.jsonl", 40)
    long = {"instruction": "Long", "reference_answer": "x" * 500, "category": "c"}
    with rows.open("a") as file:
        file.write(json.dumps(long) + "\n")
    made = dataset.build({"hardFailures": rows}, tokenizer, DATA | {"maxTokens": 400}, TRAIN)
    assert len(made.left_out) == 1
    assert made.left_out[0].startswith("hardFailures:41: ")
    assert len(made.train) + len(made.validation) == 40
    assert max(len(e) for e in made.train + made.validation) < 400
    with rows.open("a") as file:
        file.writelines(json.dumps(long | {"instruction": f"Long {i}"}) + "\n" for i in range(2))
    with pytest.raises(ValueError, match=r"3 of 43 rows are longer than data\.maxTokens = 400, more than 5%"):
        dataset.build({"hardFailures": rows}, tokenizer, DATA | {"maxTokens": 400}, TRAIN)


def test_one_row_is_too_few(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="no training rows are left of 1"):
        dataset.build({"hardFailures": write_rows(tmp_path / "a.jsonl", 1)}, tokenizer, DATA, TRAIN)


@given(st.integers(1, 50), st.integers(1, 12), st.integers(0, 5))
def test_every_epoch_sees_every_row_once_in_an_order_of_its_own(count: int, size: int, seed: int) -> None:
    rows = [Example([i], [i]) for i in range(count)]
    updates = dataset.updates_per_epoch(count, size)
    epochs = [
        [row for step in range(1, updates + 1) for row in dataset.update_rows(rows, size, seed, epoch * updates + step)]
        for epoch in range(2)
    ]
    for epoch in epochs:
        assert sorted(row.ids[0] for row in epoch) == list(range(count))
    if count > 20:
        assert epochs[0] != epochs[1] != rows


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_learning_rates_are_those_of_the_hand_run_recipe(name: str) -> None:
    config = {"learningRate": 3e-6, "warmupUpdates": 0, "schedule": name}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=3e-6)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=0, num_training_steps=20)
    for step in range(1, 21):
        assert learning_rate(step, config, 20) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_warm_up_rises_to_the_peak() -> None:
    config = {"learningRate": 1.0, "warmupUpdates": 3, "schedule": "constant"}
    assert [learning_rate(step, config, 10) for step in range(1, 6)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@given(st.lists(st.floats(0, 10) | st.just(float("nan"))), st.integers(1, 5), st.floats(0, 1))
def test_early_stopping_stops_after_patience_without_improvement(
    losses: list[float], patience: int, min_delta: float
) -> None:
    stopping = EarlyStopping(patience, min_delta)
    for step, loss in enumerate(losses, 1):
        best = stopping.best
        assert stopping.update(step, loss) == (loss < best - min_delta)
        if stopping.exhausted:
            assert step - stopping.best_step >= patience
            break
        assert step - stopping.best_step < patience
