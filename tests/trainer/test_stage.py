"""How a stage's process ends: what is the user's to mend, what is worth another attempt."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeStage

from retort import merge
from retort.errors import Damaged, UserError
from retort.stage import Stage, exit_code_of


@pytest.mark.parametrize(
    ("error", "code", "traced"),
    [
        (UserError("rows.jsonl:1: is empty"), 2, False),
        (Damaged("adapter/x is not what train left"), 1, False),
        (ValueError("a library's own"), 1, True),
        (json.JSONDecodeError("Expecting value", "", 0), 1, True),
        (OSError("the disk is full"), 1, True),
    ],
)
def test_only_a_users_mistake_ends_with_2(
    error: Exception, code: int, traced: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Fails:
        RESUMABLE = ()

        def main(self, stage: Stage, work: Path, /) -> dict[str, Any]:
            raise error

    stage = Stage("train", "r", "ab", "i", "l", {}, {}, {}, str(tmp_path / "out"))
    assert exit_code_of(stage, lambda _: Fails()) == code
    printed = capsys.readouterr()
    assert str(error) in printed.err
    assert ("Traceback" in printed.err) == traced
    event = json.loads(printed.out.splitlines()[-1])
    assert event["event"] == "failed"
    assert event["exitCode"] == code


def test_a_damaged_adapter_is_no_mistake_of_the_users(
    train_stage: MakeStage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = train_stage(maxEpochs=1)
    trained.run()
    document = trained.document | {
        "stage": "merge",
        "config": {},
        "settings": {},
        "inputs": {
            "model": trained.document["inputs"]["model"],
            "train": {"uri": str(trained.output), "fingerprint": trained.document["fingerprint"]},
        },
        "output": str(tmp_path / "merge"),
    }
    config = trained.output / "adapter/adapter_config.json"
    whole = config.read_text()
    config.write_text("x" * len(whole))
    assert exit_code_of(Stage(**document), lambda _: merge) == 1
    said = capsys.readouterr().err
    assert "adapter/adapter_config.json is not what train left: it was damaged since" in said
    assert "Traceback" not in said
    config.unlink()
    assert exit_code_of(Stage(**document), lambda _: merge) == 1
    assert "train is not finished there, or its artifacts are gone" in capsys.readouterr().err
    config.write_text(whole)
    assert exit_code_of(Stage(**document), lambda _: merge) == 0


SPREAD = ("-m", "retort.spread", "--standalone", "--nnodes", "1", "--nproc-per-node", "2")


def test_workers_under_torchrun_end_with_their_own_exit_code(train_stage: MakeStage) -> None:
    stage = train_stage()
    stage.document["inputs"]["model"]["uri"] = "/nowhere"
    process = stage.start(*SPREAD)
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 2, printed
    assert "error: /nowhere: no such model directory (model.base)" in printed


def test_workers_under_torchrun_save_when_they_are_asked_to_stop(train_stage: MakeStage) -> None:
    stage = train_stage(maxEpochs=20, save_every=1000)
    process = stage.start(*SPREAD)
    assert process.stdout
    for line in process.stdout:
        if '"phase": "train"' in line and json.loads(line)["step"] >= 2:
            process.send_signal(signal.SIGTERM)
            break
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 143, printed
    assert [p.name for p in (stage.output / "checkpoints").iterdir()]
