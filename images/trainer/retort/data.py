"""Rows of the data files: read, checked field by field, every problem reported as path:line.

Standard library only, so that data can be checked before any environment exists.
"""

import difflib
import hashlib
import json
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retort.errors import UserError
from retort.jsonl import LineProblems, json_object, json_type, numbered_lines

Kind = Literal["selfCritique", "hardFailures", "test"]

PRINTED_PROBLEMS = 20
MAX_LEFT_OUT = 0.05  # share of the training rows that may be longer than maxTokens, and so left out


@dataclass(frozen=True)
class Row:
    """One row of a data file. `line` counts from 1; `answer` is what the model should say."""

    kind: Kind
    line: int
    instruction: str
    answer: str
    category: str | None = None  # hardFailures and test
    bad_answer: str | None = None  # selfCritique: what the model said
    critique: str | None = None  # selfCritique: what is wrong with it


class DataError(UserError):
    """Every problem of one or more data files, each as `path:line: message`.

    `problems` holds all of them; `str()` prints the first 20 and counts the rest.
    """

    def __init__(self, problems: list[str]):
        self.problems = problems
        printed = problems[:PRINTED_PROBLEMS]
        if left := len(problems) - len(printed):
            printed.append(f"and {left:,} more problem{'s' if left > 1 else ''}")
        super().__init__("\n".join(printed))


def read_rows(path: Path, kind: Kind, limit: int | None = None, *, called: str | None = None) -> list[Row]:
    """The rows of one JSONL file; the first `limit` of them, if given.

    Lines after `limit` are checked too: a small trial run should find what would stop the large one.
    `called` stands for the path in messages, where the user knows the file by another name.

    Raises DataError with every problem of the file, and nothing else whatever is in it.
    """
    called = called or str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError([f"{called}: cannot be read: {error.strerror}"]) from None
    rows: list[Row] = []
    problems: list[str] = []
    for number, line in numbered_lines(content):
        try:
            rows.append(_row(kind, number, json_object(line)))
        except LineProblems as found:
            problems += [f"{called}:{number}: {message}" for message in found.messages]
    if not content:
        problems.append(f"{called}:1: the file is empty")
    if problems:
        raise DataError(problems)
    return rows[:limit]


def read_files(
    paths: Mapping[Kind, Path], limit: int | None = None, *, called: Mapping[Kind, str] | None = None
) -> dict[Kind, list[Row]]:
    """`read_rows` on several files. Raises one DataError with the problems of all of them."""
    files: dict[Kind, list[Row]] = {}
    problems: list[str] = []
    for kind, path in paths.items():
        try:
            files[kind] = read_rows(path, kind, limit, called=(called or {}).get(kind))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return files


def instruction_key(instruction: str) -> str:
    """What makes two instructions the same: sha256 (hex) of the text in NFC with every run of
    whitespace as one space. The validation split and "was seen in training" go by it."""
    normal = " ".join(unicodedata.normalize("NFC", instruction).split())
    return hashlib.sha256(normal.encode()).hexdigest()


def _row(kind: Kind, line: int, members: dict[str, Any]) -> Row:
    fields = _Fields(members)
    instruction = fields.text("instruction")
    if kind == "selfCritique":
        bad_answer, answer = fields.text("input"), fields.text("output")
        critique = fields.inside("meta", expected='an object with "critique"').text("critique")
        row = Row(kind, line, instruction, answer, bad_answer=bad_answer, critique=critique)
    else:
        answer, category = fields.text("reference_answer"), fields.text("category")
        row = Row(kind, line, instruction, answer, category=category)
    if fields.problems:
        raise LineProblems(*fields.problems)
    return row


@dataclass
class _Fields:
    """Takes fields out of an object and notes every problem, so that a row is mended in one go."""

    members: dict[str, Any]
    prefix: str = ""
    problems: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """A string with something in it; otherwise "", and a problem noted."""
        if name not in self.members:
            close = difflib.get_close_matches(name, self.members, n=1)
            hint = f"; is {json.dumps(close[0])} it, misspelt?" if close else ""
            return self._problem(name, f"is missing{hint}")
        value = self.members[name]
        if not isinstance(value, str):
            return self._problem(name, f"must be a string, got {json_type(value)}")
        if not value.strip():
            return self._problem(name, "is empty")
        try:
            value.encode()
        except UnicodeEncodeError:
            return self._problem(name, "holds half of a surrogate pair, which is no character")
        return value

    def inside(self, name: str, expected: str) -> "_Fields":
        """The fields of the object `name`; where there is none, that is the only problem noted."""
        value = self.members.get(name)
        if isinstance(value, dict):
            return _Fields(value, f"{self.prefix}{name}.", self.problems)
        if name in self.members:
            self._problem(name, f"must be {expected}, got {json_type(value)}")
        else:
            self._problem(name, "is missing")
        return _Fields({})

    def _problem(self, name: str, message: str) -> str:
        self.problems.append(f'"{self.prefix}{name}" {message}')
        return ""


if __name__ == "__main__":
    from retort.data_report import main

    sys.exit(main(sys.argv[1:]))
