"""Tokens a second of Retort's train loop and of the hand-run recipe (HF Trainer + PEFT, padded), one after the other.

An 8.03B Llama with random weights, LoRA r=64 on all linear layers, 32 rows an update, ~460 tokens a row, on one GPU of
80 GB for Retort, and of more for the hand-run recipe, which needs 86: `npm run bench:train`. Each runs in a process of
its own; the last line is their ratio.
"""

import json
import math
import random
import subprocess
import sys
import tempfile
import time
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from retort import attention, train
from retort.chat import IGNORED, Example
from retort.update import accumulate_in_memory

WARM, UPDATES, ROWS = 4, 8, 32
MICRO_BATCH_TOKENS = 8192
LLAMA_8B = LlamaConfig(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=8192,
)
LORA = {"rank": 64, "alpha": 16, "targets": "all-linear"}


def rows(count: int) -> list[Example]:
    """Lengths are log-normal, 48 to 2,048 tokens; the first 20 to 50 % of a row is its prompt."""
    draw, made = random.Random(0), []
    for _ in range(count):
        length = int(min(2048, max(48, draw.lognormvariate(math.log(420), 0.6))))
        ids = [draw.randrange(10, 128000) for _ in range(length)]
        prompt = int(length * draw.uniform(0.2, 0.5))
        made.append(Example(ids, [IGNORED] * prompt + ids[prompt:]))
    return made


def base_model(implementation: str) -> PreTrainedModel:
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlamaForCausalLM._from_config(LLAMA_8B, attn_implementation=implementation)
    torch.set_default_dtype(torch.float32)
    return model


def retort_seconds(data: list[Example]) -> float:
    """The functions of the train stage itself, without its files."""
    model = train.adapt(base_model(attention.NAME), LORA, {"uri": "random", "revision": "0"})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-6, fused=True)
    size = MICRO_BATCH_TOKENS
    started = time.perf_counter()
    for step in range(WARM + UPDATES):
        if step == WARM:
            torch.cuda.synchronize()
            started = time.perf_counter()
        update = data[step * ROWS : (step + 1) * ROWS]
        _, size = accumulate_in_memory(model, update, size, sum(row.targets for row in update))
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    return time.perf_counter() - started


class Clock(TrainerCallback):
    """Seconds from the end of the warm-up to the last update."""

    started = ended = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        torch.cuda.synchronize()
        if state.global_step == WARM:
            self.started = time.perf_counter()
        self.ended = time.perf_counter()


def hand_run_seconds(data: list[Example]) -> float:
    """Batch 4 x accumulation 8, padded to the longest row of each batch."""
    model = train.adapt(base_model("sdpa"), LORA, {"uri": "random", "revision": "0"}, compiled=False)
    clock = Clock()

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in batch)
        fill = {"input_ids": 0, "labels": IGNORED, "attention_mask": 0}
        return {k: torch.tensor([r[k] + [v] * (width - len(r[k])) for r in batch]) for k, v in fill.items()}

    arguments = TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=8,
        max_steps=WARM + UPDATES,
        learning_rate=3e-6,
        bf16=True,
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
    )
    dataset = [{"input_ids": r.ids, "labels": r.labels, "attention_mask": [1] * len(r)} for r in data]
    Trainer(model, arguments, train_dataset=dataset, data_collator=collate, callbacks=[clock]).train()  # type: ignore[arg-type]
    return clock.ended - clock.started


def measure(name: str) -> None:
    data = rows((WARM + UPDATES) * ROWS)
    seconds = retort_seconds(data) if name == "retort" else hand_run_seconds(data)
    tokens = sum(map(len, data)) * UPDATES / (WARM + UPDATES)
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(json.dumps({"tokensPerSecond": round(tokens / seconds), "peakGiB": round(peak, 1)}))


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA device of 80 GB, or of 94 for the ratio")
    found = {}
    for name in ("hand-run", "retort"):
        ran = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True)
        if ran.returncode == 0:
            found[name] = json.loads(ran.stdout.splitlines()[-1])
        said = found.get(name) or ran.stderr.strip().splitlines()[-1:]
        print(name, torch.cuda.get_device_name(), torch.__version__, said, flush=True)
    if len(found) < 2:
        sys.exit("there is no ratio: one of the two failed")
    print(f"ratio: {found['retort']['tokensPerSecond'] / found['hand-run']['tokensPerSecond']:.2f}")


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
