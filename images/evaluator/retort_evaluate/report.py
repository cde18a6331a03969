"""`report.json`: what the answers add up to. Pure, but for the time of day."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from retort.data import Row, instruction_key
from retort.stage import Stage, now
from retort_evaluate.answers import MODELS, Answer, AnswerFile, ModelName, row_id
from retort_evaluate.grade import CHECKS
from retort_evaluate.inputs import Inputs
from retort_evaluate.statistics import PairedTest, wilson_interval
from retort_evaluate.wording import percent

EXAMPLES = 12
"""How many flipped rows of each direction the report names."""

Answers = Mapping[ModelName, Mapping[str, Answer]]
"""By model, by row id; every row is there."""


def build(stage: Stage, given: Inputs, file: AnswerFile, started: str, lender: str | None = None) -> dict[str, Any]:
    """The whole report.

    `started`: when this attempt began, ISO 8601. `lender`: the evaluation that the base model's answers are from, if it
    was not asked here.
    """
    by_model: Answers = {name: file.of(name) for name in MODELS}
    finished = now()
    stages = {
        "train": _duration(given.train.manifest["startedAt"], given.train.manifest["finishedAt"]),
        "merge": _duration(given.merge.manifest["startedAt"], given.merge.manifest["finishedAt"]),
        "evaluate": _duration(started, finished),
    }
    # A stage that was interrupted has a manifest of its last attempt alone; the summary counts all of training.
    stages["train"]["seconds"] = max(stages["train"]["seconds"], round(given.train.report["seconds"]))
    asked = [by_model[name] for name in MODELS if name != "base" or lender is None]
    stages["evaluate"]["seconds"] = max(
        stages["evaluate"]["seconds"], round(sum(_asking_seconds(answers) for answers in asked))
    )
    return {
        "run": stage.run,
        "fingerprint": stage.fingerprint,
        **compare(given.rows, by_model),
        "categories": _by_category(given.rows, by_model),
        **_by_seen(given.rows, by_model, given.seen),
        "answering": {name: _answering(answers) for name, answers in by_model.items()},
        "times": stages,
        "baseAnswersFrom": lender,
        "warnings": warnings(given.rows, by_model, given.seen) + _borrowed(lender),
    }


def _borrowed(lender: str | None) -> list[str]:
    if lender is None:
        return []
    return [
        f"The base model's answers are those of {lender}, with the same model, questions, settings, code and kind of "
        "machine: it was not asked again."
    ]


def metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest keeps of it."""
    found = {"basePassRate": report["base"]["passRate"], "mergedPassRate": report["merged"]["passRate"]}
    found |= {"rows": report["base"]["total"], "pValue": report["pairedTest"]["pValue"]}
    if report["baseAnswersFrom"]:
        found |= {"baseAnswersFrom": report["baseAnswersFrom"]}
    if report["seenInTraining"]["rows"]:
        unseen = report["neverSeen"]
        found |= {f"neverSeen{name.title()}PassRate": unseen[name]["passRate"] for name in MODELS}
    return found


def compare(rows: Iterable[Row], by_model: Answers) -> dict[str, Any]:
    """Both models' rates on `rows`, which rows flipped, and whether that can be chance."""
    ids = [row_id(row) for row in rows]
    base, merged = by_model["base"], by_model["merged"]
    gained = [i for i in ids if merged[i].passed and not base[i].passed]
    lost = [i for i in ids if base[i].passed and not merged[i].passed]
    still_failing = [i for i in ids if not base[i].passed and not merged[i].passed]
    return {
        **_rates(ids, by_model),
        "flipped": {
            "gained": {"count": len(gained), "examples": spread(gained, base)},
            "lost": {"count": len(lost), "examples": spread(lost, base)},
        },
        "stillFailing": {"count": len(still_failing), "examples": spread(still_failing, base)},
        "pairedTest": {
            "name": "McNemar, mid-p, two-sided",
            "gained": len(gained),
            "lost": len(lost),
            "pValue": PairedTest(len(gained), len(lost)).p_value,
        },
    }


def rate(answers: Iterable[Answer]) -> dict[str, Any]:
    """Passed, total, pass rate with its 95 % interval, and what failed. Without answers the rate is null.

    `failed` counts every check that was not met, `firstFailed` each failed answer once, under the check that explains
    the ones after it: cut off before ill-formed before wrong.
    """
    all_answers = list(answers)
    total, passed = len(all_answers), sum(answer.passed for answer in all_answers)
    first = [answer.failed[0] for answer in all_answers if answer.failed]
    return {
        "passed": passed,
        "total": total,
        "passRate": passed / total if total else None,
        "interval": list(wilson_interval(passed, total)) if total else None,
        "failed": {check: sum(check in answer.failed for answer in all_answers) for check in CHECKS},
        "firstFailed": {check: first.count(check) for check in CHECKS},
    }


def spread(ids: list[str], answers: Mapping[str, Answer], limit: int = EXAMPLES) -> list[str]:
    """At most `limit` of `ids`, from every category in turn: the first category would else fill the report."""
    by_category: dict[str, list[str]] = {}
    for i in ids:
        by_category.setdefault(answers[i].category, []).append(i)
    turns = [
        (place, number, i)
        for number, category in enumerate(sorted(by_category))
        for place, i in enumerate(by_category[category])
    ]
    return [i for _, _, i in sorted(turns, key=lambda turn: turn[:2])[:limit]]


def warnings(rows: Iterable[Row], by_model: Answers, seen: set[str]) -> list[str]:
    """What a reader of the two rates must know before believing them."""
    known, unknown = _split(rows, seen)
    if not known:
        return []
    rates = _rates(unknown, by_model)
    measured = (
        f"On the {len(unknown)} rows that it never saw, {percent(rates['base']['passRate'])} before and "
        f"{percent(rates['merged']['passRate'])} after: believe these."
        if unknown
        else "No row is left that it never saw, so nothing here says how it does on new ones."
    )
    of = len(known) + len(unknown)
    return [f"The model was trained on {len(known)} of the {of} test rows: on those, memory passes. {measured}"]


def _by_seen(rows: Iterable[Row], by_model: Answers, seen: set[str]) -> dict[str, Any]:
    known, unknown = _split(rows, seen)
    return {
        "seenInTraining": {"rows": len(known), **_rates(known, by_model)},
        "neverSeen": {"rows": len(unknown), **_rates(unknown, by_model)},
    }


def _split(rows: Iterable[Row], seen: set[str]) -> tuple[list[str], list[str]]:
    known, unknown = [], []
    for row in rows:
        (known if instruction_key(row.instruction) in seen else unknown).append(row_id(row))
    return known, unknown


def _by_category(rows: Iterable[Row], by_model: Answers) -> dict[str, Any]:
    ids: dict[str, list[str]] = {}
    for row in rows:
        ids.setdefault(row.category or "", []).append(row_id(row))
    return {category: _rates(ids[category], by_model) for category in sorted(ids)}


def _rates(ids: Iterable[str], by_model: Answers) -> dict[str, Any]:
    kept = list(ids)
    return {name: rate(answers[i] for i in kept) for name, answers in by_model.items()}


def _answering(answers: Mapping[str, Answer]) -> dict[str, Any]:
    prompt = sum(answer.reply.prompt_tokens for answer in answers.values())
    completion = sum(answer.reply.completion_tokens for answer in answers.values())
    return {"seconds": round(_asking_seconds(answers), 1), "promptTokens": prompt, "completionTokens": completion}


def _asking_seconds(answers: Mapping[str, Answer]) -> float:
    return sum(answer.seconds for answer in answers.values())


def _duration(started: str, finished: str) -> dict[str, Any]:
    seconds = (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()
    return {"startedAt": started, "finishedAt": finished, "seconds": round(seconds)}
