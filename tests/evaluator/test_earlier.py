"""The evaluation of a retrained model asks only the merged one, unless what decides the base's answers changed."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeRun
from finished_run import FinishedRun, row

from retort import manifest, storage
from retort.stage import Stage, exit_code_of
from retort_evaluate import evaluate

QUESTIONS = [row("Order 1 chair.", '{"count": 1}'), row("Order 2 chairs.", '{"count": 2}')]
RIGHT = {q["instruction"]: q["reference_answer"] for q in QUESTIONS}

Change = Callable[[dict[str, Any]], None]


def evaluated(run: FinishedRun, change: Change = lambda document: None) -> dict[str, Any]:
    """Runs the stage to its manifest, which it returns; `change` is made to its document."""
    document = run.document()
    change(document)
    stage = Stage(**document)
    assert exit_code_of(stage, lambda _: evaluate) == 0
    made = manifest.read_valid(stage.output, stage.fingerprint)
    assert made is not None
    return made


def retrained(document: dict[str, Any]) -> None:
    """The same evaluation of another adapter: only the fingerprints, and with them the output, are others."""
    document["fingerprint"] = "d" * 64
    document["output"] = document["output"].replace("c" * 12, "d" * 12)


def asked(run: FinishedRun) -> Counter[str]:
    return Counter(question["server"] for question in run.questions())


def test_after_a_retrain_only_the_merged_model_is_asked_and_the_report_says_so(make_run: MakeRun) -> None:
    run = make_run(rows=QUESTIONS, base={"Order 1 chair.": '{"count": 1}'}, merged=RIGHT)
    first = evaluated(run)
    assert asked(run) == {"base-model": 2, "model": 2}
    assert "baseAnswersFrom" not in first["metrics"]
    second = evaluated(run, retrained)
    assert asked(run) == {"base-model": 2, "model": 4}
    assert second["metrics"] == first["metrics"] | {"baseAnswersFrom": "evaluate-cccccccccccc"}
    report = json.loads((run.output.parent / ("evaluate-" + "d" * 12) / "report.json").read_text())
    assert report["base"] == run.report()["base"]
    assert report["warnings"][-1].startswith("The base model's answers are those of evaluate-cccccccccccc")


def test_a_store_lends_them_as_a_disk_does(
    make_run: MakeRun, tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(rows=QUESTIONS, base={}, merged=RIGHT)

    def on_store(document: dict[str, Any]) -> None:
        document["output"] = f"{bucket}/evaluate-{document['fingerprint'][:12]}"

    monkeypatch.setenv("RETORT_WORK", str(tmp_path / "one"))
    evaluated(run, on_store)

    def again(document: dict[str, Any]) -> None:
        retrained(document)
        on_store(document)

    monkeypatch.setenv("RETORT_WORK", str(tmp_path / "two"))
    second = evaluated(run, again)
    assert second["metrics"]["baseAnswersFrom"] == "evaluate-cccccccccccc"
    assert asked(run) == {"base-model": 2, "model": 4}


def _tokens(document: dict[str, Any]) -> None:
    document["config"]["evaluate"]["maxNewTokens"] = 63


def _image(document: dict[str, Any]) -> None:
    document["image"] = "local@sha256:" + "1" * 64


def _lock(document: dict[str, Any]) -> None:
    document["lock"] = "2" * 64


def _model(document: dict[str, Any]) -> None:
    document["inputs"]["model"]["revision"] = "sha256:" + "3" * 64


@pytest.mark.parametrize("change", [_tokens, _image, _lock, _model])
def test_what_decides_the_answers_makes_them_be_asked_again(make_run: MakeRun, change: Change) -> None:
    run = make_run(rows=QUESTIONS, base={}, merged=RIGHT)
    evaluated(run)

    def other(document: dict[str, Any]) -> None:
        retrained(document)
        change(document)

    assert "baseAnswersFrom" not in evaluated(run, other)["metrics"]
    assert asked(run) == {"base-model": 4, "model": 4}


def _other_answers(run: FinishedRun) -> None:
    path = run.output / "responses.jsonl"
    path.write_text(path.read_text().replace("count", "sum"))


def _no_manifest(run: FinishedRun) -> None:
    (run.output / "manifest.json").unlink()


def _torn_manifest(run: FinishedRun) -> None:
    path = run.output / "manifest.json"
    path.write_text(path.read_text()[:-9])


def _other_machine(run: FinishedRun) -> None:
    path = run.output / "manifest.json"
    made = json.loads(path.read_text())
    made["machine"]["accelerator"] = "NVIDIA H200"
    path.write_text(json.dumps(made))


@pytest.mark.parametrize("spoil", [_other_answers, _no_manifest, _torn_manifest, _other_machine])
def test_an_evaluation_that_cannot_vouch_for_its_answers_lends_none(
    make_run: MakeRun, spoil: Callable[[FinishedRun], None]
) -> None:
    run = make_run(rows=QUESTIONS, base=RIGHT, merged=RIGHT)
    evaluated(run)
    spoil(run)
    evaluated(run, retrained)
    assert asked(run) == {"base-model": 4, "model": 4}


def test_directories_are_those_right_below_that_begin_so(tmp_path: Path, bucket: str) -> None:
    below = f"{bucket}/below"
    for path in ("evaluate-1/x", "evaluate-2/deep/x", "train-1/x", "evaluate-file"):
        storage.write_bytes(f"{below}/{path}", b"x")
        storage.write_bytes(str(tmp_path / path), b"x")
    assert storage.directories(below, "evaluate-") == ["evaluate-1", "evaluate-2"]
    assert storage.directories(str(tmp_path), "evaluate-") == ["evaluate-1", "evaluate-2"]
