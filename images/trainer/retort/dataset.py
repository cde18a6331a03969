"""The rows a run trains and validates on, and their order: a function of the data, the config and the seed."""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from retort.chat import Example, encode, question
from retort.data import MAX_LEFT_OUT, Kind, instruction_key, read_files
from retort.errors import UserError


@dataclass(frozen=True)
class Dataset:
    train: list[Example]
    validation: list[Example]
    left_out: list[str]
    """Rows longer than maxTokens, as `kind:line: N tokens`. Cutting them would teach answers that stop early."""
    keys: list[str]
    """The instruction keys of all rows used, sorted: what the model has seen."""


def build(
    files: dict[Kind, Path],
    tokenizer: PreTrainedTokenizerBase,
    data: dict[str, Any],
    train: dict[str, Any],
    *,
    called: dict[Kind, str] | None = None,
) -> Dataset:
    """Reads, encodes and splits; `called` as in `read_rows`, by kind.

    Raises DataError for bad rows, UserError where too many or too few are left.
    """
    rows = [row for rows in read_files(files, data["rowLimit"], called=called).values() for row in rows]
    held_out = validation_keys([instruction_key(r.instruction) for r in rows], train["validationSplit"], train["seed"])
    parts: dict[bool, list[Example]] = {False: [], True: []}
    left_out, keys = [], set()
    for row in rows:
        example = encode(tokenizer, question(row, data["selfCritiqueFormat"]), row.answer)
        if len(example) > data["maxTokens"]:
            left_out.append(f"{row.kind}:{row.line}: {len(example)} tokens")
            continue
        key = instruction_key(row.instruction)
        parts[key in held_out].append(example)
        keys.add(key)
    if len(left_out) > MAX_LEFT_OUT * len(rows):
        raise UserError(
            f"{len(left_out)} of {len(rows)} rows are longer than data.maxTokens = {data['maxTokens']}, more than "
            f"{MAX_LEFT_OUT:.0%}; raise it, or shorten them. The first: {left_out[0]}"
        )
    if not parts[False] or not parts[True]:
        empty = "validation" if parts[False] else "training"
        raise UserError(f"no {empty} rows are left of {len(rows)}; change train.validationSplit or give more rows")
    return Dataset(parts[False], parts[True], left_out, sorted(keys))


def validation_keys(keys: list[str], share: float, seed: int) -> set[str]:
    """Instructions whose rows make up about `share` of all rows (one at least): none is on both sides of the split.

    An instruction's place is drawn from its own hash, so that adding rows moves few of the others.
    """
    counts = Counter(keys)
    wanted = max(1, round(share * len(keys)))
    chosen: set[str] = set()
    taken = 0
    for key in sorted(counts, key=lambda k: hashlib.sha256(f"{seed}:{k}".encode()).digest()):
        if taken >= wanted:
            break
        chosen.add(key)
        taken += counts[key]
    return chosen


def update_rows(train: list[Example], rows_per_update: int, seed: int, step: int) -> list[Example]:
    """The rows of update `step` (from 1). Every epoch has its own order; its last update may be smaller."""
    updates = updates_per_epoch(len(train), rows_per_update)
    epoch, update = divmod(step - 1, updates)
    order = list(range(len(train)))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    return [train[i] for i in order[update * rows_per_update : (update + 1) * rows_per_update]]


def updates_per_epoch(rows: int, rows_per_update: int) -> int:
    return -(-rows // rows_per_update)
