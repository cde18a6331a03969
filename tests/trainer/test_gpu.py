"""What only a CUDA device can show: its attention kernel, its memory running out, a train stage in bf16.

Not part of `npm test`, which must run anywhere: `npm run test:gpu`.
"""

from pathlib import Path

import pytest
import torch
from conftest import MakeStage
from test_packing import LENGTHS, examples, logits
from transformers import AutoModelForCausalLM

from retort import attention
from retort.update import accumulate, accumulate_in_memory

pytestmark = pytest.mark.gpu


def test_the_variable_length_kernel_gives_each_row_what_it_gets_alone(tiny_model: Path) -> None:
    plain = AutoModelForCausalLM.from_pretrained(
        tiny_model, dtype=torch.bfloat16, attn_implementation="eager", device_map="cuda"
    )
    packed = AutoModelForCausalLM.from_pretrained(
        tiny_model, dtype=torch.bfloat16, attn_implementation=attention.NAME, device_map="cuda"
    )
    rows = examples(LENGTHS)
    together = logits(packed, rows).split(LENGTHS)
    for row, found in zip(rows, together, strict=True):
        with torch.no_grad():
            alone = plain(input_ids=torch.tensor([row.ids]).cuda()).logits[0]
        torch.testing.assert_close(found, alone, atol=3e-2, rtol=3e-2)
    changed = [*rows[:3], examples([LENGTHS[3]], seed=1)[0], *rows[4:]]
    after = logits(packed, changed).split(LENGTHS)
    assert [torch.equal(a, b) for a, b in zip(together, after, strict=True)] == [i != 3 for i in range(8)]


def test_when_memory_really_runs_out_the_micro_batch_is_halved(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        tiny_model, dtype=torch.bfloat16, attn_implementation=attention.NAME, device_map="cuda"
    )
    rows = examples([1000] * 64)
    targets = sum(row.targets for row in rows)
    accumulate(model, rows, 4_000, targets)
    torch.cuda.reset_peak_memory_stats()
    model.zero_grad()
    expected = accumulate(model, rows, 16_000, targets)
    needed = torch.cuda.max_memory_reserved() * 1.5
    model.zero_grad()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(needed / torch.cuda.get_device_properties(0).total_memory)
    try:
        loss, fitted = accumulate_in_memory(model, rows, 64_000, targets)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert fitted < 64_000
    torch.testing.assert_close(loss, expected, atol=1e-3, rtol=1e-3)


def test_a_train_stage_learns_in_bf16_and_goes_on_after_a_torn_checkpoint(train_stage: MakeStage) -> None:
    stage = train_stage(maxEpochs=4)
    stage.run()
    summary = stage.summary()
    assert summary["device"] == torch.cuda.get_device_name()
    assert summary["bestLoss"] < 0.9 * summary["baseLoss"]
    newest = max((stage.output / "checkpoints").glob("step-*"), key=lambda p: int(p.name.removeprefix("step-")))
    (newest / "state.safetensors").write_bytes(b"torn")
    (stage.output / "manifest.json").unlink()
    assert "skipping the torn checkpoint" in stage.run()
    assert stage.summary()["bestLoss"] == pytest.approx(summary["bestLoss"], rel=0.05)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_devices_train_what_one_trains(train_stage: MakeStage) -> None:
    one, two = train_stage("one"), train_stage("two")
    one.run()
    process = two.start("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    printed, _ = process.communicate(timeout=180)
    assert process.returncode == 0, printed
    losses = [[h["loss"] for h in stage.summary()["history"]] for stage in (one, two)]
    assert len(losses[0]) == 10
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
