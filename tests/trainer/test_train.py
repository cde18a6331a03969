"""The train stage as its users meet it: a process that is killed, asked to stop, run again, run by several workers."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MakeStage, TrainStage
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def adapter_of(stage: TrainStage) -> dict[str, torch.Tensor]:
    return load_file(stage.output / "adapter/adapter_model.safetensors")


def curve(stage: TrainStage) -> list[tuple[int, float, float, float]]:
    """Everything a step decides; its speed is the machine's."""
    return [(h["step"], h["loss"], h["gradNorm"], h["learningRate"]) for h in stage.summary()["history"]]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_killed_and_resumed_training_equals_uninterrupted_step_for_step(
    train_stage: MakeStage, number: int, code: int
) -> None:
    whole, broken = train_stage("whole"), train_stage("broken")
    whole.run()
    assert broken.run_until(5, number) == code
    assert not (broken.output / "manifest.json").exists()
    printed = broken.run()
    (resumed_from,) = broken.summary()["resumedFrom"]
    assert resumed_from >= 4, printed
    assert len(curve(whole)) == 10
    assert curve(broken) == curve(whole)
    assert broken.summary()["validation"] == whole.summary()["validation"]
    torch.testing.assert_close(adapter_of(broken), adapter_of(whole), atol=0, rtol=0)


def test_sigterm_loses_no_update(train_stage: MakeStage) -> None:
    stage = train_stage(save_every=1000)
    assert stage.run_until(3, signal.SIGTERM) == 143
    steps = [int(p.name.removeprefix("step-")) for p in (stage.output / "checkpoints").glob("step-*")]
    assert len(steps) == 1
    assert steps[0] >= 3
    stage.run()
    assert stage.summary()["resumedFrom"] == steps


def test_a_torn_checkpoint_is_skipped(train_stage: MakeStage) -> None:
    stage = train_stage()
    stage.run()
    expected = curve(stage)
    newest, before = sorted((stage.output / "checkpoints").glob("step-*"), key=step_of, reverse=True)
    with (newest / "state.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"torn")
    (stage.output / "manifest.json").unlink()
    assert f"skipping the torn checkpoint {newest.name}" in stage.run()
    assert stage.summary()["resumedFrom"] == [step_of(before)]
    assert curve(stage) == expected


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def test_early_stopping_fires_survives_a_resume_and_the_best_step_is_kept(train_stage: MakeStage) -> None:
    # Rates that are far too high make validation worse after a good start.
    changes: dict[str, Any] = {"learningRate": 0.3, "schedule": "constant", "maxEpochs": 10, "evalEvery": 1}
    whole, broken = train_stage("whole", **changes), train_stage("broken", save_every=1, **changes)
    whole.run()
    summary = whole.summary()
    losses = {v["step"]: v["loss"] for v in summary["validation"] if v["step"]}
    assert summary["stoppedEarly"]
    assert summary["steps"] == summary["bestStep"] + 3 < 50
    assert summary["bestLoss"] == min(losses.values())
    broken.run_until(summary["bestStep"] + 1, signal.SIGKILL)  # patience is half used up
    broken.run()
    assert broken.summary()["resumedFrom"]
    assert broken.summary()["steps"] == summary["steps"]
    torch.testing.assert_close(adapter_of(broken), adapter_of(whole), atol=0, rtol=0)


def test_micro_batches_do_not_change_the_run(train_stage: MakeStage) -> None:
    large, small = train_stage("large"), train_stage("small", micro_batch_tokens=100)
    large.run()
    small.run()
    for (_, *one), (_, *other) in zip(curve(large), curve(small), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.parametrize("rows_per_update", [8, 7])
def test_two_workers_train_what_one_trains(train_stage: MakeStage, rows_per_update: int) -> None:
    one, two = (train_stage(name, rowsPerUpdate=rows_per_update) for name in ("one", "two"))
    one.run()
    process = two.start("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert len(curve(two)) >= 10
    for (_, *a), (_, *b) in zip(curve(one), curve(two), strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    # Of seven rows an update, a single one is left for the last: one worker has none.
    assert (two.summary()["trainRows"] % rows_per_update == 1) == (rows_per_update == 7)


def test_training_learns_and_tells_tensorboard(train_stage: MakeStage) -> None:
    stage = train_stage(maxEpochs=4)
    printed = stage.run()
    summary = stage.summary()
    assert summary["bestLoss"] < 0.9 * summary["baseLoss"]
    steps = [json.loads(line) for line in printed.splitlines() if line.startswith('{"event": "progress"')]
    assert [s["step"] for s in steps if s["phase"] == "train"] == list(range(1, 21))
    board = EventAccumulator(str(stage.output / "tensorboard"))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {
        *(f"train/{name}" for name in ("loss", "gradNorm", "learningRate", "tokensPerSecond")),
        *(f"validation/{name}" for name in ("loss", "perplexity")),
    }
    assert [e.step for e in board.Scalars("train/loss")] == list(range(1, 21))


def test_a_finished_stage_does_nothing_and_a_stage_whose_artifact_is_gone_runs(train_stage: MakeStage) -> None:
    stage = train_stage(maxEpochs=1)
    stage.run()
    adapter = stage.output / "adapter/adapter_model.safetensors"
    before = adapter.stat().st_mtime_ns
    assert '"event": "skipped"' in stage.run()
    assert adapter.stat().st_mtime_ns == before
    adapter.unlink()
    assert '"event": "done"' in stage.run()
    assert adapter.exists()


def test_data_that_changed_since_the_run_was_planned_stops_it(train_stage: MakeStage) -> None:
    stage = train_stage()
    rows = Path(stage.document["inputs"]["data"]["hardFailures"]["uri"])
    rows.write_text(rows.read_text() + rows.read_text())
    printed = fails(stage, 2)
    assert "rows.jsonl: has changed since the run was planned; run the same command again" in printed


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("/nowhere", "/nowhere: no such model directory (model.base)"),
        ("pypi://llm-nothing", "pypi://llm-nothing: not in this stage's environment (model.base)"),
    ],
)
def test_a_base_model_that_does_not_exist_is_a_mistake_without_a_trace(
    train_stage: MakeStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, message: str
) -> None:
    monkeypatch.setenv("RETORT_CACHE", str(tmp_path))
    stage = train_stage()
    stage.document["inputs"]["model"]["uri"] = uri
    assert f"error: {message}\n" in fails(stage, 2)


def test_a_model_of_no_known_kind_without_weights_or_without_a_chat_template_is_refused(
    train_stage: MakeStage, tiny_model: Path, tmp_path: Path
) -> None:
    stage = train_stage()
    copy = tmp_path / "model"
    shutil.copytree(tiny_model, copy)
    stage.document["inputs"]["model"]["uri"] = str(copy)
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(config.replace('"llama"', '"nonesuch"'))
    assert f"{copy}: transformers cannot load this model (model.base): " in fails(stage, 2)
    (copy / "config.json").write_text(config)
    (copy / "chat_template.jinja").unlink()
    assert "the tokenizer has no chat template, so this is no chat model" in fails(stage, 2)
    for path in copy.glob("*.safetensors"):
        path.unlink()
    assert "no *.safetensors file there; convert the weights to safetensors" in fails(stage, 2)


def test_training_that_diverges_says_so(train_stage: MakeStage) -> None:
    stage = train_stage(learningRate=1e20, maxGradNorm=1e20, warmupUpdates=0)
    assert "no validation loss was ever a number: the training diverged; lower train.learningRate" in fails(stage, 2)


def fails(stage: TrainStage, code: int) -> str:
    printed = stage.run(expected=code)
    assert "Traceback" not in printed
    return printed


def test_a_users_mistake_ends_the_process_with_2(train_stage: MakeStage) -> None:
    stage = train_stage()
    stage.document["inputs"]["model"]["uri"] = "/nowhere"
    process = stage.start()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    message = "/nowhere: no such model directory (model.base)"
    said, event = printed.splitlines()[-2:]
    assert said == f"error: {message}"
    assert json.loads(event) == {"event": "failed", "stage": "train", "message": message, "exitCode": 2}
