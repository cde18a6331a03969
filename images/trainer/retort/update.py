"""One update of the adapter: the loss over whole rows, its gradient in micro-batches, the learning rate at a step."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from retort import workers
from retort.chat import IGNORED, Example
from retort.errors import UserError
from retort.packing import Packed, micro_batches, pack

Model = PreTrainedModel | PeftModel


def loss_sum(model: Model, packed: Packed) -> torch.Tensor:
    """Cross-entropy in nats summed over the rows' target tokens: scalar, fp32.

    Logits, the largest tensor by far, are made for target tokens only.
    """
    wanted = (packed.targets[0] != IGNORED).nonzero()[:, 0]
    with torch.autocast(packed.ids.device.type, torch.bfloat16, enabled=packed.ids.is_cuda):
        logits = model(
            input_ids=packed.ids,
            position_ids=packed.positions,
            attention_mask=None,
            use_cache=False,
            logits_to_keep=wanted,
            bounds=packed.bounds,
            longest=packed.longest,
        ).logits[0]
    return cross_entropy(logits.float(), packed.targets[0, wanted], reduction="sum")


def accumulate(model: Model, rows: Sequence[Example], max_tokens: int, targets: int) -> torch.Tensor:
    """Adds the gradient of the rows' loss, micro-batch by micro-batch. Returns their share of the update's mean loss.

    Dividing by `targets`, those of the whole update, makes the result the same whatever the micro-batches, and gives
    every answer token the same weight.
    """
    total = torch.zeros((), device=model.device)
    for group in micro_batches(rows, max_tokens):
        loss = loss_sum(model, pack(group).to(model.device)) / targets
        loss.backward()
        total += loss.detach()
    return total


def accumulate_in_memory(
    model: Model, rows: Sequence[Example], max_tokens: int, targets: int
) -> tuple[torch.Tensor, int]:
    """`accumulate`, halving the micro-batch as long as memory runs out. Returns the loss and the size that fitted.

    Raises UserError when a single row does not fit.
    """
    while True:
        try:
            return accumulate(model, rows, max_tokens, targets), max_tokens
        except torch.OutOfMemoryError:
            longest = max(len(row) for row in rows)
            if max_tokens <= longest:
                raise UserError(f"a row of {longest} tokens does not fit into memory: lower data.maxTokens") from None
            max_tokens = max(max_tokens // 2, longest)
        model.zero_grad(set_to_none=True)  # the torn update starts over
        torch.cuda.empty_cache()


@torch.no_grad()
def mean_loss(model: Model, rows: Sequence[Example], max_tokens: int) -> float:
    """Mean cross-entropy per target token over all rows, in nats."""
    total = torch.zeros((), device=model.device)
    for group in micro_batches(workers.share(list(rows)), max_tokens):
        total += loss_sum(model, pack(group).to(model.device))
    workers.add_up([total])
    return total.item() / sum(row.targets for row in rows)


def learning_rate(step: int, train: dict[str, Any], total: int) -> float:
    """At update `step` (from 1) of `total`: up to the peak over `warmupUpdates`, then constant, or down towards 0.

    As Hugging Face's schedules of the same names, but that warm-up starts above 0: no update is for nothing.
    """
    peak, warmup, done = train["learningRate"], train["warmupUpdates"], step - 1
    if done < warmup:
        return peak * step / (warmup + 1)
    past = (done - warmup) / max(1, total - warmup)
    shapes = {"constant": 1.0, "linear": 1 - past, "cosine": 0.5 * (1 + math.cos(math.pi * past))}
    return peak * shapes[train["schedule"]]
