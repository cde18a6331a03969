"""`report.html`: the report as one page for people. No script, nothing from outside, all text escaped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from retort.data import Row
from retort.stage import Stage
from retort_evaluate.answers import MODELS, Answer, AnswerFile, row_id
from retort_evaluate.charts import line_chart
from retort_evaluate.diff import Segment, marked
from retort_evaluate.grade import NotJson, asks_for_json, parse
from retort_evaluate.inputs import Inputs
from retort_evaluate.wording import chance, duration, percent, points, readable

LONGEST_TEXT = 3_000
"""Characters of an answer that the page shows; `responses.jsonl` has all of them."""

LONGEST_SHARED = 24
"""Characters that instructions may share at their start and still be told apart on one line."""


@dataclass(frozen=True)
class ShownAnswer:
    """`left_out`: characters cut off at the end, here, not by the model."""

    passed: bool
    reason: str
    segments: list[Segment]
    left_out: int


@dataclass(frozen=True)
class Example:
    """A test row with both models' answers to it."""

    id: str
    category: str
    headline: str
    """The instruction without what it begins with like others do, so that one line tells them apart."""
    instruction: str
    reference: str
    is_json: bool
    base: ShownAnswer
    merged: ShownAnswer


def render(stage: Stage, report: Mapping[str, Any], given: Inputs, file: AnswerFile) -> str:
    """The page as HTML."""
    rows = {row_id(row): row for row in given.rows}

    def examples(ids: list[str]) -> list[Example]:
        lines = headlines([rows[i].instruction for i in ids])
        return [
            _example(rows[i], line, file.of("base")[i], file.of("merged")[i])
            for i, line in zip(ids, lines, strict=True)
        ]

    training = given.train.report
    loss = line_chart(
        {
            "training": [(point["step"], point["loss"]) for point in training["history"]],
            "validation": [(point["step"], point["loss"]) for point in training["validation"]],
        }
    )
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            stage=stage,
            train=training,
            merge=given.merge.report,
            weakest=sorted(given.merge.report["tensors"], key=lambda tensor: tensor["survived"])[:5],
            manifests={"train": given.train.manifest, "merge": given.merge.manifest},
            models=MODELS,
            points=points,
            flipped={name: examples(report["flipped"][name]["examples"]) for name in ("gained", "lost")},
            still_failing=examples(report["stillFailing"]["examples"][:4]),
            loss=loss,
            best=loss.x_axis.percent(training["bestStep"]) if loss else None,
            gradient=line_chart({"gradient": [(p["step"], p["gradNorm"]) for p in training["history"]]}),
        )
    )


def headlines(instructions: list[str]) -> list[str]:
    """Each instruction as one line that tells it from the others: without the words it shares with another at the
    start, if they are many."""
    lines = [" ".join(text.split()) for text in instructions]
    shown = []
    for i, line in enumerate(lines):
        shared = max((_shared(line, other) for j, other in enumerate(lines) if j != i), default=0)
        start = line.rfind(" ", 0, shared) + 1
        shown.append(f"… {line[start:]}" if start > LONGEST_SHARED and shared < len(line) else line)
    return shown


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _example(row: Row, headline: str, base: Answer, merged: Answer) -> Example:
    return Example(
        row_id(row),
        row.category or "",
        headline,
        row.instruction,
        row.answer,
        asks_for_json(row.answer),
        _shown(row, base),
        _shown(row, merged),
    )


def _shown(row: Row, answer: Answer) -> ShownAnswer:
    text = answer.reply.text
    left_out = max(0, len(text) - LONGEST_TEXT)
    plain = answer.passed or left_out or len(row.answer) > LONGEST_TEXT
    segments = [Segment("same", text[:LONGEST_TEXT])] if plain else marked(row.answer, text)
    return ShownAnswer(answer.passed, _reason(answer), segments, left_out)


def _reason(answer: Answer) -> str:
    """Why the answer does not pass, in words: the first of its troubles, which explains the others."""
    if "complete" in answer.failed:
        tokens = f"{answer.reply.completion_tokens:,} tokens"
        cut = answer.reply.finish_reason == "length"
        return f"cut off at {tokens}" if cut else f"ended by “{answer.reply.finish_reason}” after {tokens}"
    if "wellFormed" in answer.failed:
        return f"not JSON: {_json_error(answer.reply.text)}"
    return "not the reference" if answer.failed else ""


def _json_error(text: str) -> str:
    text = text.strip()
    if "```" in text:
        return "it stands in a code fence"
    if not text.startswith(("{", "[")):
        return "other text stands in its place" if text else "there is nothing"
    try:
        parse(text)
    except NotJson as error:
        return str(error)
    raise AssertionError("only text that does not parse is called ill-formed")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "count": lambda number: f"{number:,}",
        "duration": duration,
        "chance": chance,
        "readable": readable,
        "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    }
    return environment
