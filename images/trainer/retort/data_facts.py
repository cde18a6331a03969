"""What a person wants to know about data before training on it. Counted here, printed by data_report."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.data import Row, instruction_key
from retort.jsonl import LineProblems, json_object, numbered_lines


@dataclass(frozen=True)
class Coverage:
    """Lines of a file and how many of them fill each field. A field inside another is `meta.critique`."""

    lines: int
    filled: dict[str, int]
    first: dict[str, str]  # field → text of the first line that is a row


@dataclass(frozen=True)
class Lengths:
    """Tokens a row: prompt, answer and end token, as training reads them. Of `rows` rows."""

    rows: int
    minimum: int
    median: int
    p95: int
    maximum: int


@dataclass(frozen=True)
class RowFacts:
    """Counts over the rows that a run uses of one file."""

    rows: int
    categories: dict[str, int]  # the most frequent first
    duplicates: int  # rows that repeat an earlier one in every field
    contradictions: int  # instructions that are given more than one answer, in this file or the other training file
    in_test: int  # rows whose instruction is in the test set too
    lengths: Lengths | None
    too_long: list[tuple[int, int]]  # (line, tokens) of every row over the limit


def coverage(path: Path) -> Coverage:
    """Also for a file that `read_rows` refuses: then it is wanted most. A line that is no object fills nothing."""
    lines, filled, first = 0, Counter[str](), {}
    for _, line in numbered_lines(path.read_bytes()):
        lines += 1
        try:
            fields = _filled_fields(json_object(line))
        except LineProblems:
            continue
        filled.update(list(fields))
        first = first or fields
    return Coverage(lines, dict(filled), first)


def row_facts(
    rows: Sequence[Row],
    learned_together: Sequence[Row],
    test: Sequence[Row],
    tokens: Mapping[int, int],
    max_tokens: int,
) -> RowFacts:
    """Facts of one file's rows.

    `learned_together`: the rows that must not contradict them, these included. `test`: the rows they should not be
    among. `tokens`: line → tokens of the rows that were measured; it may be empty.
    """
    keys = [instruction_key(row.instruction) for row in rows]
    test_keys = {instruction_key(row.instruction) for row in test}
    answers: dict[str, set[str]] = defaultdict(set)
    for row in learned_together:
        answers[instruction_key(row.instruction)].add(row.answer)
    return RowFacts(
        rows=len(rows),
        categories=dict(Counter(row.category for row in rows if row.category).most_common()),
        duplicates=len(rows) - len({(r.instruction, r.answer, r.category, r.bad_answer, r.critique) for r in rows}),
        contradictions=sum(len(answers[key]) > 1 for key in set(keys)),
        in_test=sum(key in test_keys for key in keys),
        lengths=_lengths(list(tokens.values())),
        too_long=[(line, n) for line, n in tokens.items() if n > max_tokens],
    )


def _filled_fields(members: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in members.items():
        if isinstance(value, dict):
            fields |= _filled_fields(value, f"{prefix}{name}.")
        elif value is not None and str(value).strip():
            fields[prefix + name] = str(value)
    return fields


def _lengths(tokens: list[int]) -> Lengths | None:
    if not tokens:
        return None
    ordered = sorted(tokens)
    last = len(ordered) - 1
    return Lengths(len(ordered), ordered[0], ordered[round(0.5 * last)], ordered[round(0.95 * last)], ordered[last])
