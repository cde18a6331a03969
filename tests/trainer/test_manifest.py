"""A manifest alone says all that a run can be done again from, and what it ran on."""

import json
from pathlib import Path

from conftest import MakeStage

from retort import machine


def test_a_manifest_holds_all_that_the_stage_was_told_and_the_machine(train_stage: MakeStage) -> None:
    stage = train_stage(maxEpochs=1)
    stage.run()
    told = {key: value for key, value in stage.document.items() if key != "output"}
    made = json.loads((Path(stage.document["output"]) / "manifest.json").read_text())
    assert {key: made[key] for key in told} == told
    assert made["machine"] == machine.described()
    assert made["machine"]["cores"] >= 1
    assert made["machine"]["processor"]
    assert made["machine"]["workers"] == 1
