"""The base model's answers from an earlier evaluation of the same run: training does not change them, so that they need
not be asked again.

They count only if all that decides them is the same: model, questions, config, image, lock and accelerator. The earlier
evaluation's manifest says so, and holds the hash of its answers.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from retort import machine, manifest, storage
from retort.stage import Stage
from retort_evaluate import answers
from retort_evaluate.answers import Answer, AnswerFile


@dataclass(frozen=True)
class Earlier:
    name: str
    """Its folder, beside this one."""
    base: dict[str, Answer]

    def lend(self, file: AnswerFile) -> bool:
        """Adds the answers that `file` lacks; whether all of the base model's are then these."""
        for row, answer in self.base.items():
            if row not in file.of("base"):
                file.add(answer)
        return file.of("base") == self.base


def find(stage: Stage, rows: Iterable[str]) -> Earlier | None:
    """The newest evaluation beside this one that has an answer to each of `rows` from the very same base model."""
    wanted = set(rows)
    run, _, own = stage.output.rstrip("/").rpartition("/")
    try:
        names = [name for name in storage.directories(run, "evaluate-") if name != own]
        records = [(name, _record(storage.join(run, name))) for name in names]
        alike = [(name, record) for name, record in records if record and _is_alike(record, stage)]
        for name, record in sorted(alike, key=lambda found: found[1]["finishedAt"], reverse=True):
            base = _base_answers(storage.join(run, name), record)
            if set(base) == wanted:
                return Earlier(name, base)
    except storage.STORE_ERRORS:  # asking again costs time, and nothing else
        return None
    return None


def _record(output: str) -> dict[str, Any] | None:
    try:
        return json.loads(storage.read_bytes(storage.join(output, manifest.NAME)) or b"null")
    except ValueError:
        return None


def _is_alike(record: dict[str, Any], stage: Stage) -> bool:
    try:
        return (
            record["image"] == stage.image
            and stage.lock in ("", record["lock"])  # an image's digest covers its lock
            and record["config"] == stage.config
            and record["inputs"]["model"] == stage.inputs["model"]
            and record["inputs"]["data"]["test"]["sha256"] == stage.inputs["data"]["test"]["sha256"]
            and record["machine"]["accelerator"] == machine.described()["accelerator"]
        )
    except (KeyError, TypeError):
        return False


def _base_answers(output: str, record: dict[str, Any]) -> dict[str, Answer]:
    """Empty if they are not the ones that the manifest vouches for."""
    content = storage.read_bytes(storage.join(output, answers.FILE)) or b""
    hashes = {output["path"]: output["sha256"] for output in record["outputs"]}
    if hashes.get(answers.FILE) != hashlib.sha256(content).hexdigest():
        return {}
    found = [Answer.from_json(json.loads(line)) for line in content.splitlines()]
    return {answer.id: answer for answer in found if answer.model == "base"}
