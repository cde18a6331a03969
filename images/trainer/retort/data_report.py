"""`python -m retort.data CHECK.json`: what is in a run's data files, to be looked at before training on them.

CHECK.json: {"data": {"selfCritique"?, "hardFailures"?, "test": path or s3:// URI, "maxTokens", "rowLimit",
"selfCritiqueFormat"}, "model": URI, or null where no tokenizer is to be had}. The report goes to stdout, problems to
stderr; exit code 2 if there are any.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.data import MAX_LEFT_OUT, DataError, Kind, Row, read_rows
from retort.data_facts import Coverage, RowFacts, coverage, row_facts
from retort.errors import UserError

KINDS: tuple[Kind, ...] = ("selfCritique", "hardFailures", "test")
PREVIEW_CHARACTERS = 88
PRINTED_TOO_LONG = 5
LABEL_WIDTH = 16
TEST_SAMPLE_ROWS = 2000


@dataclass(frozen=True)
class DataFile:
    kind: Kind
    called: str  # as the user knows it: a path as seen from here, or a URI
    path: Path


def main(arguments: list[str]) -> int:
    """The exit code: 0, or 2 with every problem printed."""
    if len(arguments) != 1:
        print("usage: python -m retort.data CHECK.json", file=sys.stderr)
        return 2
    check = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for line in report(check["data"], check["model"], Path(scratch)):
                print(line)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def report(data: dict[str, Any], model: str | None, scratch: Path) -> Iterator[str]:
    """The lines of the report. Raises UserError for data that cannot be trained on, once all there is to see is seen.

    `scratch` takes copies of remote files.
    """
    files = [_data_file(kind, data[kind], scratch / kind) for kind in KINDS if data.get(kind)]
    rows, problems = _read(files, data["rowLimit"])
    if problems:
        for file in files:
            if file.path.is_file():
                yield from _coverage_lines(file, coverage(file.path))
        raise DataError(problems)
    count = _token_counter(model, data["selfCritiqueFormat"], scratch)
    training = [row for kind, of_kind in rows.items() if kind != "test" for row in of_kind]
    too_long: list[str] = []
    for file in files:
        others = (rows["test"], []) if file.kind == "test" else (training, rows["test"])
        measured = {row.line: count(row) for row in _to_measure(file.kind, rows[file.kind])} if count else {}
        facts = row_facts(rows[file.kind], *others, measured, data["maxTokens"])
        found = coverage(file.path)
        yield from _coverage_lines(file, found)
        if facts.rows < found.lines:
            yield _line("in use", f"the first {facts.rows:,} rows (data.rowLimit); the following is about them")
        yield from _row_lines(file, facts, data["maxTokens"])
        if file.kind != "test":
            too_long += [f"{file.called}:{line}: {tokens:,} tokens" for line, tokens in facts.too_long]
    if len(too_long) > MAX_LEFT_OUT * len(training):
        raise UserError(
            f"{len(too_long):,} of {len(training):,} training rows are longer than data.maxTokens = "
            f"{data['maxTokens']:,}; at most {100 * MAX_LEFT_OUT:.0f} % may be left out. Raise it, or shorten these:\n"
            + "\n".join(too_long[:PRINTED_TOO_LONG])
        )


def _to_measure(kind: Kind, rows: list[Row]) -> list[Row]:
    """Every training row, since any may be too long; an even sample of the test set, of which nothing is left out."""
    return rows[:: 1 + (len(rows) - 1) // TEST_SAMPLE_ROWS] if kind == "test" else rows


def _data_file(kind: Kind, uri: str, into: Path) -> DataFile:
    if uri.startswith("s3://"):
        from retort import storage  # boto3, which data on this machine does not need

        return DataFile(kind, uri, storage.fetch(uri, into))
    path = Path(uri)
    return DataFile(kind, str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path), path)


def _read(files: list[DataFile], limit: int | None) -> tuple[dict[Kind, list[Row]], list[str]]:
    rows: dict[Kind, list[Row]] = {}
    problems: list[str] = []
    for file in files:
        try:
            rows[file.kind] = read_rows(file.path, file.kind, limit, called=file.called)
        except DataError as error:
            problems += error.problems
    return rows, problems


def _token_counter(model: str | None, self_critique_format: str, scratch: Path) -> Callable[[Row], int] | None:
    if model is None:
        return None
    from retort.token_count import token_counter  # torch and transformers, which reading rows does not need

    return token_counter(model, self_critique_format, scratch / "tokenizer")


def _coverage_lines(file: DataFile, found: Coverage) -> Iterator[str]:
    """A line a field: in how many rows it is filled, and what it is in the first."""
    yield f"{file.kind}  {file.called}  {found.lines:,} rows"
    width = max([LABEL_WIDTH, *map(len, found.filled)])
    for name, filled in found.filled.items():
        yield f"  {name:<{width}} {_share(filled, found.lines):>6}  {_preview(found.first.get(name, ''))}"


def _row_lines(file: DataFile, facts: RowFacts, max_tokens: int) -> Iterator[str]:
    if facts.categories:
        yield _line("categories", ", ".join(f"{name} {n:,}" for name, n in facts.categories.items()))
    if facts.lengths:
        of = facts.lengths
        sample = f" (of {of.rows:,} rows)" if of.rows < facts.rows else ""
        span = f"{of.minimum:,} to {of.maximum:,} a row, median {of.median:,}, 95 % up to {of.p95:,}"
        yield _line("tokens", span + sample)
    else:
        yield _line("tokens", "not counted: no model is named whose tokenizer could")
    if facts.too_long and file.kind != "test":
        share = _share(len(facts.too_long), facts.rows)
        limit = f"data.maxTokens = {max_tokens:,}"
        yield _line(
            "too long",
            f"{len(facts.too_long):,} of {facts.rows:,} rows ({share}) are over {limit}: left out, never cut",
        )
    if facts.duplicates:
        yield _line("twice", f"{facts.duplicates:,} of the rows, word for word")
    if facts.contradictions:
        yield _line("two answers", f"{facts.contradictions:,} of the instructions, in the training files together")
    if facts.in_test:
        share = _share(facts.in_test, facts.rows)
        yield _line(
            "in test set",
            f"{facts.in_test:,} of {facts.rows:,} rows ({share}): a pass rate on them would measure memory",
        )
        yield _line("", "evaluate reports the rows that were trained on apart from the others")
    elif file.kind != "test":
        yield _line("in test set", "none")
    yield ""


def _line(label: str, text: str) -> str:
    return f"  {label:<{LABEL_WIDTH}} {text}"


def _share(part: int, whole: int) -> str:
    """A percentage that says 0 % and 100 % only of none and all."""
    percent = 100 * part / whole
    if part in (0, whole):
        return f"{percent:.0f} %"
    return f"{min(max(percent, 0.1), 99.9):.1f} %"


def _preview(text: str) -> str:
    shown = text.replace("\n", "\\n")
    return shown if len(shown) <= PREVIEW_CHARACTERS else f"{shown[:PREVIEW_CHARACTERS]}… ({len(text):,} characters)"
