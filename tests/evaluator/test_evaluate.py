"""The evaluate stage as a whole, against real server processes: what it leaves, and what a kill costs."""

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeRun
from finished_run import FinishedRun, gone, row

from retort import events, storage
from retort.errors import Damaged, UserError
from retort.stage import STOPPING, Stage, Stopped
from retort_evaluate.client import ATTEMPTS
from retort_evaluate.evaluate import main


def evaluate(run: FinishedRun) -> dict[str, Any]:
    stage = run.stage()
    return main(stage, Path(stage.output))


def test_both_models_answer_every_row_once_and_the_report_adds_up(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [
        row("Order 1 chair.", '{"count": 1}', "orders"),
        row("Order 2 chairs.", '{"count": 2}', "orders"),
        row("Capital of France?", "Paris", "facts"),
        row("Order 3 chairs.", '{"count": 3}', "orders"),
    ]
    run = make_run(
        rows=questions,
        base={
            "Order 1 chair.": '{"count": 1}',
            "Order 2 chairs.": ["import json " * 9, "length"],
            "Capital of France?": "paris.",
            "Order 3 chairs.": '```\n{"count": 3}\n```',
        },
        merged={
            "Order 1 chair.": '{"count": 1}',
            "Order 2 chairs.": '{"count": 2}',
            "Capital of France?": "Lyon",
            "Order 3 chairs.": '{"count": 3}',
        },
        seen=["Order 3 chairs."],
    )
    metrics = evaluate(run)
    assert Counter((q["server"], q["question"]) for q in run.questions()) == {
        (model, q["instruction"]): 1 for model in ("base-model", "model") for q in questions
    }
    assert metrics == {
        "basePassRate": 0.5,
        "mergedPassRate": 0.75,
        "rows": 4,
        "pValue": pytest.approx(5 / 8),
        "neverSeenBasePassRate": pytest.approx(2 / 3),
        "neverSeenMergedPassRate": pytest.approx(2 / 3),
    }
    report = run.report()
    assert {name: rates["merged"]["passed"] for name, rates in report["categories"].items()} == {
        "facts": 0,
        "orders": 3,
    }
    assert report["base"]["firstFailed"] == {"complete": 1, "wellFormed": 1, "correct": 0}
    assert report["flipped"] == {
        "gained": {"count": 2, "examples": ["2", "4"]},
        "lost": {"count": 1, "examples": ["3"]},
    }
    assert list(report["times"]) == ["train", "merge", "evaluate"]
    assert report["times"]["train"]["seconds"] == 185
    assert report["answering"]["base"]["completionTokens"] == len('{"count": 1}') + 108 + 6 + 20
    assert [(r["id"], r["model"], r["failed"]) for r in run.responses()] == [
        ("1", "base", []), ("1", "merged", []),
        ("2", "base", ["complete", "wellFormed", "correct"]), ("2", "merged", []),
        ("3", "base", []), ("3", "merged", ["correct"]),
        ("4", "base", ["wellFormed", "correct"]), ("4", "merged", []),
    ]  # fmt: skip
    assert {p.name for p in run.output.iterdir()} == {
        "responses.jsonl", "report.json", "report.html", "server-base.log", "server-merged.log",
    }  # fmt: skip
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last = {e["phase"]: (e["step"], e["of"]) for e in said if e["event"] == "progress"}
    assert last["base"] == last["merged"] == (4, 4)
    assert [e["message"] for e in said if e["event"] == "warning"] == report["warnings"] != []


def test_a_killed_evaluation_asks_nothing_again_and_a_finished_one_does_nothing(make_run: MakeRun) -> None:
    run = make_run(30, concurrency=3)
    run.set_role("base", seconds=0.2, childLeavesGroup=True)
    process = run.start()
    until(lambda: (run.output / "responses.jsonl").exists() and len(run.responses()) >= 7, process)
    process.kill()
    process.wait()
    assert gone(run.server_pids())
    answered = {r["id"] for r in run.responses()}
    asked = len(run.questions())
    assert 7 <= len(answered) <= asked <= len(answered) + 3
    with (run.output / "responses.jsonl").open("a") as file:
        file.write('{"model": "base", "id": "29", "categ')  # as torn by a machine that lost power

    again = finish(run)
    after = run.questions()[asked:]
    assert Counter(q["server"] for q in after) == {"base-model": 30 - len(answered), "model": 30}
    assert {q["question"] for q in after if q["server"] == "base-model"} == {
        r["instruction"] for i, r in enumerate(run.rows, 1) if str(i) not in answered
    }
    assert len(run.responses()) == 60
    assert run.report()["merged"]["passed"] == 30
    manifest = json.loads((run.output / "manifest.json").read_text())
    assert [o["path"] for o in manifest["outputs"]] == ["report.html", "report.json", "responses.jsonl"]
    assert manifest["metrics"]["mergedPassRate"] == 1.0
    assert '"event": "done"' in again
    assert gone(run.server_pids(), within_seconds=0.1)

    asked = len(run.questions())
    assert '"event": "skipped"' in finish(run)
    assert len(run.questions()) == asked


def test_sigterm_ends_it_within_seconds_with_143_and_no_server_left(make_run: MakeRun) -> None:
    run = make_run(6)
    run.set_role("base", seconds=30)
    process = run.start()
    until(lambda: len(run.questions()) >= 1, process)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 143, printed
    assert time.monotonic() - started < 10
    assert '"event": "stopped"' in printed
    assert gone(run.server_pids(), within_seconds=0.1)


def test_a_new_pod_resumes_from_the_store(make_run: MakeRun, tmp_path: Path, bucket: str) -> None:
    run = make_run(12, concurrency=2)
    run.set_role("base", seconds=0.1)
    stage = replace(run.stage(), output=f"{bucket}/evaluate-cccccccccccc")
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    watcher = threading.Thread(target=lambda: (until(lambda: len(run.questions()) >= 6), STOPPING.set()))
    watcher.start()
    try:
        with pytest.raises(Stopped):
            main(stage, tmp_path / "old")
    finally:
        watcher.join()
        STOPPING.clear()
    saved = storage.read_bytes(f"{stage.output}/responses.jsonl")
    assert saved is not None
    asked, answered = len(run.questions()), len(saved.splitlines())
    assert answered >= 3
    metrics = main(stage, tmp_path / "new")
    assert len(run.questions()) - asked == (12 - answered) + 12
    assert metrics["rows"] == 12


def test_a_server_that_dies_costs_only_what_it_had_not_answered(make_run: MakeRun) -> None:
    run = make_run(10, concurrency=1)  # others in flight might be answered while the server dies
    run.set_role("merged", diesAfter=4)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        evaluate(run)
    asked = Counter(q["server"] for q in run.questions())
    assert asked["base-model"] == 10
    run.set_role("merged")
    evaluate(run)
    later = Counter(q["server"] for q in run.questions()) - asked
    assert later["base-model"] == 0
    assert 6 <= later["model"] <= 10
    assert len(run.questions()) < 20 + ATTEMPTS


def test_row_limit_asks_the_first_rows_only(make_run: MakeRun) -> None:
    run = make_run(6)
    document = run.document()
    document["config"]["data"]["rowLimit"] = 2
    run.output.mkdir(parents=True)
    assert main(Stage(**document), run.output)["rows"] == 2
    assert {q["question"] for q in run.questions()} == {r["instruction"] for r in run.rows[:2]}


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda run: (run.merge / "manifest.json").unlink(),
            Damaged,
            "merge is not finished there, or its artifacts are gone",
        ),
        (
            lambda run: (run.merge / "model/config.json").unlink(),
            Damaged,
            "merge is not finished there, or its artifacts are gone",
        ),
        (lambda run: (run.train / "manifest.json").write_text("{"), Damaged, "train is not finished there"),
        (lambda run: run.base_model.rename(run.base_model.with_name("gone")), UserError, "no such model directory"),
        (lambda run: run.test_file.unlink(), UserError, "test.jsonl: no such file or directory"),
        (lambda run: run.test_file.write_text("{}\n"), UserError, "has changed since the run was planned"),
    ],
)
def test_what_is_missing_is_said_before_any_server_starts(
    make_run: MakeRun, spoil: Any, error: type[Exception], message: str
) -> None:
    run = make_run(2)
    stage = run.stage()
    spoil(run)
    with pytest.raises(error, match=message):
        main(stage, run.output)
    assert not run.pids_file.exists()


def test_a_row_that_does_not_fit_the_context_is_named_by_its_line(make_run: MakeRun) -> None:
    run = make_run(rows=[row("short", "x"), row("long " * 400, "x")], base={}, merged={})
    with pytest.raises(
        ValueError, match=r"test\.jsonl:2: a prompt of 2007 tokens and evaluate\.maxNewTokens = 64 exceed"
    ):
        evaluate(run)
    assert not run.pids_file.exists()


def test_progress_is_said_at_most_once_a_second_and_at_the_end(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, int]] = []
    monkeypatch.setattr(events, "progress", lambda stage, phase, step, *rest, **fields: said.append((phase, step)))
    run = make_run(40)
    run.set_role("base", seconds=0.15)
    evaluate(run)
    assert said[-1] == ("merged", 40)
    assert 2 <= len([1 for phase, _ in said if phase == "base"]) <= 6


def finish(run: FinishedRun) -> str:
    process = run.start()
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def until(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Waits for the condition, minutes on a busy machine, but not for a process that has ended."""
    deadline = time.monotonic() + 180
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "waited three minutes for nothing"
        time.sleep(0.05)
