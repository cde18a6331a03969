"""The processes of one training run, as torchrun starts them; alone, every one of these calls costs nothing.

Data parallel: each worker takes a share of an update's rows, and gradients are added up once an update. Only adapters
are trained, so that is a few hundred MB at most.
"""

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist

from retort.chat import Example


def start() -> None:
    """Joins the other workers, if torchrun started any."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def is_first() -> bool:
    """The worker that writes files and speaks."""
    return not dist.is_initialized() or dist.get_rank() == 0


def share(rows: list[Example]) -> list[Example]:
    """This worker's part of an update's rows."""
    return rows[dist.get_rank() :: dist.get_world_size()] if dist.is_initialized() else rows


def add_up(tensors: Iterable[torch.Tensor]) -> None:
    """Replaces every tensor by its sum over all workers."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor)


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether it is true for any worker: all of them have to stop at the same update."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value)
    return bool(value.item())
