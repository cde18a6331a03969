"""Whether two ways of having one model agree: the base with its adapter beside it, and the merged model.

In fp32, one model in memory at a time, on a few prompts: their logits, and how far these are from each other compared
with how far training moved them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from retort import model
from retort.chat import prompt_ids

PROMPTS = (
    "Reply with a JSON object with the keys name and age: Ada is 36 years old.",
    "Write a Python function that returns the n-th Fibonacci number.",
    "What is the capital of France? Answer in one sentence.",
    "List three things to check before a long journey by train.",
)


@dataclass(frozen=True)
class Agreement:
    """How close the merged model's logits are to the adapted one's.

    relative_error: rms(merged - adapted) / rms(base - adapted) of the logits; 0 is equal, 1 is as far off as the base.
    same_token: share of positions where merged and adapted model would go on with the same token.
    """

    max_abs_logit_difference: float
    relative_error: float
    same_token: float
    prompts: int

    def as_json(self) -> dict[str, Any]:
        return {
            "maxAbsLogitDifference": self.max_abs_logit_difference,
            "relativeError": self.relative_error,
            "sameArgmax": self.same_token,
            "prompts": self.prompts,
        }


@torch.no_grad()
def agreement(base_dir: Path, adapter_dir: Path, merged_dir: Path) -> Agreement:
    tokenizer = model.load_tokenizer(base_dir)
    prompts = [torch.tensor([prompt_ids(tokenizer, text)], device=model.device()) for text in PROMPTS]
    adapted = peft.PeftModel.from_pretrained(_load(base_dir), str(adapter_dir))
    with_adapter = _logits(adapted, prompts)
    with adapted.disable_adapter():
        without = _logits(adapted, prompts)
    del adapted
    merged = _logits(_load(merged_dir), prompts)
    difference = merged - with_adapter
    moved = (without - with_adapter).square().mean().sqrt().item()
    return Agreement(
        max_abs_logit_difference=difference.abs().max().item(),
        relative_error=difference.square().mean().sqrt().item() / moved if moved else 0.0,
        same_token=(merged.argmax(-1) == with_adapter.argmax(-1)).float().mean().item(),
        prompts=len(prompts),
    )


def _load(directory: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, device_map={"": model.device()})


def _logits(of: torch.nn.Module, prompts: list[torch.Tensor]) -> torch.Tensor:
    """[all prompts' tokens, vocabulary], fp32, on the CPU."""
    return torch.cat([of(input_ids=ids, use_cache=False).logits[0].float().cpu() for ids in prompts])
