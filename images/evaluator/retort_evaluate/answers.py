"""`responses.jsonl`: every answer, written as it arrives, so that a killed evaluation goes on without asking again."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from retort import storage
from retort.data import Row
from retort_evaluate.grade import Check, failed_checks

ModelName = Literal["base", "merged"]

MODELS: tuple[ModelName, ...] = ("base", "merged")

FILE = "responses.jsonl"


@dataclass(frozen=True)
class Reply:
    """What a server said to one prompt."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Answer:
    """One line of the file: a model's reply to a test row, graded."""

    model: ModelName
    id: str
    category: str
    reply: Reply
    seconds: float
    """Wall clock from the answer before it, or from the first question: summed over a model's answers, the time that
    asking took, without the time between attempts."""
    failed: list[Check]

    @property
    def passed(self) -> bool:
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "id": self.id,
            "category": self.category,
            "response": self.reply.text,
            "finishReason": self.reply.finish_reason,
            "passed": self.passed,
            "failed": self.failed,
            "promptTokens": self.reply.prompt_tokens,
            "completionTokens": self.reply.completion_tokens,
            "seconds": round(self.seconds, 3),
        }

    @staticmethod
    def from_json(fields: dict[str, Any]) -> "Answer":
        reply = Reply(fields["response"], fields["finishReason"], fields["promptTokens"], fields["completionTokens"])
        return Answer(fields["model"], fields["id"], fields["category"], reply, fields["seconds"], fields["failed"])


def row_id(row: Row) -> str:
    """A row's name in all that the stage writes: its line in the test file."""
    return str(row.line)


def graded(model: ModelName, row: Row, reply: Reply, seconds: float) -> Answer:
    failed = failed_checks(reply.text, reply.finish_reason, row.answer)
    return Answer(model, row_id(row), row.category or "", reply, seconds, failed)


class AnswerFile:
    """The answers there are, by model and row. Adding one writes its line at once.

    A last line that a kill tore in two is cut off when the file is opened: that row is asked again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._by_model: dict[ModelName, dict[str, Answer]] = {name: {} for name in MODELS}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            answer = _whole(line)
            if answer is None:
                break
            self._by_model[answer.model][answer.id] = answer
            whole += len(line)
        self._file = path.open("ab")
        self._file.truncate(whole)

    def of(self, model: ModelName) -> dict[str, Answer]:
        """A model's answers by row id."""
        return self._by_model[model]

    def add(self, answer: Answer) -> None:
        self._by_model[answer.model][answer.id] = answer
        self._file.write(_line(answer))
        self._file.flush()

    def sort(self, rows: Iterable[Row]) -> None:
        """Puts the lines into the order of the test file, base before merged, in place of the order of arrival."""
        lines = [_line(self._by_model[model][row_id(row)]) for row in rows for model in MODELS]
        storage.write_bytes(str(self.path), b"".join(lines))

    def __enter__(self) -> "AnswerFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def bring_back(output: str, path: Path) -> None:
    """Before the file is opened: the answers an earlier pod saved at a remote `output`, where this one has fewer."""
    if not storage.is_remote(output):
        return
    saved = storage.read_bytes(storage.join(output, FILE))
    if saved is not None and (not path.exists() or path.stat().st_size < len(saved)):
        storage.write_bytes(str(path), saved)


def save(path: Path, output: str) -> None:
    """Copies the answers so far to a remote `output`; a local one is written in place."""
    if storage.is_remote(output) and path.exists():
        storage.write_bytes(storage.join(output, FILE), path.read_bytes())


def _line(answer: Answer) -> bytes:
    # A lone half of a surrogate pair, which UTF-8 cannot hold, becomes \udXXX: JSON's own way of writing it.
    return (json.dumps(answer.to_json(), ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _whole(line: bytes) -> Answer | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return Answer.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return None
