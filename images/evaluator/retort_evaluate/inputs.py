"""What the stage reads: test rows, two models, and what the stages before it wrote down."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort import events, manifest, model, storage
from retort.chat import prompt_ids
from retort.data import DataError, Row, read_rows
from retort.errors import Damaged, UserError
from retort.stage import Stage
from retort_evaluate.answers import ModelName, row_id
from retort_evaluate.client import Question


@dataclass(frozen=True)
class Upstream:
    """A finished stage before this one."""

    manifest: dict[str, Any]
    report: dict[str, Any]
    """Its `training_summary.json` or `merge_report.json`."""


@dataclass(frozen=True)
class Inputs:
    rows: list[Row]
    questions: list[Question]
    models: Mapping[ModelName, Path]
    seen: set[str]
    """The instruction keys of every row that the model was trained or validated on."""
    train: Upstream
    merge: Upstream


def read(stage: Stage, into: Path) -> Inputs:
    """Reads all inputs; what is remote is copied to `into`.

    Raises Damaged where a stage before this one is not finished, UserError where a file has changed since the run was
    planned or a row does not fit into the model's context: before a server is started and the first question asked.
    """
    events.progress(stage.stage, "load", 0, 1, "models")
    train = _upstream(stage, "train", "training_summary.json")
    merge = _upstream(stage, "merge", "merge_report.json")
    source = stage.inputs["model"]
    base = model.resolve(source["uri"], source["revision"])
    path = _test_file(stage, into)
    called = stage.inputs["data"]["test"]["uri"]
    rows = read_rows(path, "test", stage.config["data"]["rowLimit"], called=called)
    questions = _questions(rows, base)
    _check_context(called, questions, base, stage.config["evaluate"]["maxNewTokens"])
    seen = set(json.loads(_read(stage, "train", "seen.json")))
    merged = storage.fetch(storage.join(stage.inputs["merge"]["uri"], "model"), into / "model")
    return Inputs(rows, questions, {"base": base, "merged": merged}, seen, train, merge)


def _upstream(stage: Stage, name: str, report: str) -> Upstream:
    source = stage.inputs[name]
    return Upstream(manifest.upstream(name, source), json.loads(_read(stage, name, report)))


def _read(stage: Stage, name: str, file: str) -> bytes:
    uri = storage.join(stage.inputs[name]["uri"], file)
    content = storage.read_bytes(uri)
    if content is None:
        raise Damaged(f"{uri}: is not there; run {name} again")
    return content


def _test_file(stage: Stage, into: Path) -> Path:
    source = stage.inputs["data"]["test"]
    path = storage.fetch(source["uri"], into / "test.jsonl")
    if manifest.sha256_of(path) != source["sha256"]:
        raise UserError(f"{source['uri']}: has changed since the run was planned; run the same command again")
    return path


def _questions(rows: list[Row], base: Path) -> list[Question]:
    tokenizer = model.load_tokenizer(base)
    return [Question(row_id(row), row.instruction, len(prompt_ids(tokenizer, row.instruction))) for row in rows]


def _check_context(called: str, questions: list[Question], base: Path, max_new_tokens: int) -> None:
    context = json.loads((base / "config.json").read_text()).get("max_position_embeddings")
    if context is None:
        return
    problems = [
        f"{called}:{q.id}: a prompt of {q.prompt_tokens} tokens and evaluate.maxNewTokens = {max_new_tokens} exceed "
        f"the model's context of {context} tokens"
        for q in questions
        if q.prompt_tokens + max_new_tokens > context
    ]
    if problems:
        raise DataError(problems)
