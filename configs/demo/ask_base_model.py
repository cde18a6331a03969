"""Asks the base model every training task and keeps what it said: base_answers.jsonl, which generate.py builds on.

    .venv/bin/python configs/demo/ask_base_model.py MODEL_DIRECTORY

Needed again only when the tasks change; then only the new ones are asked. Greedy, and cut at the limit that the demo's
evaluation has.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from generate import BASE_ANSWERS, BaseAnswer, recorded_answers, training_tasks
from transformers import AutoModelForCausalLM, AutoTokenizer

MAX_NEW_TOKENS = 96
BATCH_ROWS = 20


def main(directory: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    answers = recorded_answers()
    instructions = [asked.instruction for asked in training_tasks()]
    new = [instruction for instruction in instructions if instruction not in answers]
    for start in range(0, len(new), BATCH_ROWS):
        answers |= {a.instruction: a for a in _ask(model, tokenizer, new[start : start + BATCH_ROWS])}
        kept = [vars(answers[instruction]) for instruction in instructions if instruction in answers]
        BASE_ANSWERS.write_text(
            "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in kept), encoding="utf-8"
        )
        print(f"{min(start + BATCH_ROWS, len(new))} of {len(new)} asked", flush=True)


@torch.inference_mode()
def _ask(model: Any, tokenizer: Any, instructions: list[str]) -> list[BaseAnswer]:
    end = model.generation_config.eos_token_id
    tokenizer.pad_token_id = end  # left of the prompt, where the attention mask hides it
    chats = [[{"role": "user", "content": instruction}] for instruction in instructions]
    prompts = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**prompts, do_sample=False, max_new_tokens=MAX_NEW_TOKENS, pad_token_id=end)
    said = output[:, prompts["input_ids"].shape[1] :]
    return [
        BaseAnswer(instruction, tokenizer.decode(tokens, skip_special_tokens=True).strip(), bool((tokens == end).any()))
        for instruction, tokens in zip(instructions, said, strict=True)
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
