"""Rows end to end, without padding: an update's rows split by tokens into micro-batches."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from retort.chat import IGNORED, Example

LONGEST_STEP = 512  # a compiled layer is compiled anew for each value of `longest`: let there be few


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Rows laid end to end. N tokens, R rows.

    ids, positions, targets: [1, N] int64, positions starting again at 0 with each row. `targets[0, i]` is the token
    that token i should predict, IGNORED at the end of each row, so that no row predicts the next one's start.
    bounds: [R + 1] int32, where each row starts, and N. longest: no row is longer (in tokens, rounded up).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    bounds: torch.Tensor
    longest: int

    def to(self, device: torch.device) -> "Packed":
        tensors = {name: getattr(self, name).to(device) for name in ("ids", "positions", "targets", "bounds")}
        return Packed(**tensors, longest=self.longest)


def pack(rows: Sequence[Example]) -> Packed:
    """Lays at least one row end to end."""
    lengths = [len(row) for row in rows]
    return Packed(
        ids=torch.tensor([[token for row in rows for token in row.ids]]),
        positions=torch.cat([torch.arange(n) for n in lengths])[None],
        targets=torch.tensor([[label for row in rows for label in [*row.labels[1:], IGNORED]]]),
        bounds=torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32),
        longest=math.ceil(max(lengths) / LONGEST_STEP) * LONGEST_STEP,
    )


def micro_batches(rows: Sequence[Example], max_tokens: int) -> list[list[Example]]:
    """Splits rows, in order, into groups of at most `max_tokens` tokens. A row that is longer stands alone."""
    groups: list[list[Example]] = []
    room = 0
    for row in rows:
        if not groups or len(row) > room:
            groups.append([])
            room = max_tokens
        groups[-1].append(row)
        room -= len(row)
    return groups
