"""A merged model is the trained model, tensor by tensor, or the merge says how far it is from it."""

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from conftest import MakeStage
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from retort import merge
from retort.agreement import Agreement, agreement
from retort.errors import Damaged, UserError
from retort.merge import Adapter, judge, read_adapter
from retort.stage import Stage, exit_code_of


def make_adapter(base: Path, directory: Path, scale: float = 0.05) -> Path:
    """A real PEFT adapter with random, non-zero weights: rank 4, alpha 8."""
    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=scale)
    adapted.save_pretrained(str(directory))
    return directory


def in_bf16(base: Path, directory: Path) -> Path:
    """The same model, stored as large ones are."""
    shutil.copytree(base, directory)
    for shard in directory.glob("*.safetensors"):
        save_file({n: t.bfloat16() for n, t in load_file(shard).items()}, shard, metadata={"format": "pt"})
    return directory


def test_merged_logits_equal_adapter_logits(tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "adapter")
    overall, tensors = merge.merge(tiny_model, read_adapter(adapter), tmp_path / "merged")
    check = agreement(tiny_model, adapter, tmp_path / "merged")
    assert check.max_abs_logit_difference < 1e-4
    assert check.relative_error < 1e-4
    assert check.same_token == 1.0
    assert len(tensors) == 14  # 7 linear layers in each of 2 decoder layers
    assert overall.share == pytest.approx(1.0, abs=1e-4)


def test_the_merged_model_is_the_adapter_merged_by_peft_and_keeps_the_bases_shards(
    tiny_model: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "adapter")
    merge.merge(tiny_model, read_adapter(adapter), tmp_path / "merged")
    shards = [p.name for p in sorted(tiny_model.glob("*.safetensors"))]
    assert len(shards) > 2
    assert [p.name for p in sorted((tmp_path / "merged").glob("*.safetensors"))] == shards
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    adapted = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(adapter))
    theirs = adapted.merge_and_unload().state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=1e-5)


def test_tokenizer_template_and_generation_config_come_along(tiny_model: Path, tmp_path: Path) -> None:
    merge.merge(tiny_model, read_adapter(make_adapter(tiny_model, tmp_path / "adapter")), tmp_path / "merged")
    others = {p.name for p in tiny_model.iterdir() if p.suffix != ".safetensors"}
    assert {"tokenizer.json", "chat_template.jinja", "generation_config.json", "config.json"} <= others
    assert others == {p.name for p in (tmp_path / "merged").iterdir() if p.suffix != ".safetensors"}


def test_sums_are_rounded_once_to_the_bases_type(tiny_model: Path, tmp_path: Path) -> None:
    base = in_bf16(tiny_model, tmp_path / "base")
    adapter = read_adapter(make_adapter(base, tmp_path / "adapter"))
    merge.merge(base, adapter, tmp_path / "merged")
    old, new = (
        {n: t for shard in d.glob("*.safetensors") for n, t in load_file(shard).items()}
        for d in (base, tmp_path / "merged")
    )
    name = "model.layers.1.mlp.down_proj.weight"
    a, b = adapter.pairs[name]
    assert new[name].dtype == torch.bfloat16
    assert torch.equal(new[name], (old[name].double() + 2.0 * (b.double() @ a.double())).bfloat16())
    assert torch.equal(new["model.embed_tokens.weight"], old["model.embed_tokens.weight"])


@pytest.mark.parametrize(("update", "survived"), [(1 / 128, 1.0), (1 / 512, 0.0), (3 / 512, 4 / 3)])
def test_what_survives_rounding_is_measured(update: float, survived: float, tmp_path: Path) -> None:
    # Above 1, the next bf16 number is 1 + 1/128: less than half of that is lost, three quarters become all of it.
    save_file({"w.weight": torch.ones(4, 4, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    pair = (torch.full((1, 4), update), torch.ones(4, 1))
    overall, (tensor,) = merge.merge(tmp_path, Adapter(1.0, {"w.weight": pair}), tmp_path / "merged")
    assert overall.share == pytest.approx(survived)
    assert tensor["maxAbsUpdate"] == pytest.approx(update)


def test_an_adapter_tensor_without_a_place_fails_the_merge(tiny_model: Path, tmp_path: Path) -> None:
    adapter = read_adapter(make_adapter(tiny_model, tmp_path / "adapter"))
    name = "model.layers.0.mlp.up_proj.weight"
    moved = {**adapter.pairs, "model.layers.9.mlp.up_proj.weight": adapter.pairs[name]}
    with pytest.raises(UserError, match=r"no tensor for 1 of the adapter's: model\.layers\.9\.mlp\.up_proj\.weight"):
        merge.merge(tiny_model, Adapter(adapter.scale, moved), tmp_path / "merged")
    wrong = {**adapter.pairs, name: (torch.ones(4, 3), torch.ones(5, 4))}
    with pytest.raises(
        Damaged, match=r"up_proj\.weight: the adapter's update is \(5, 3\), the base tensor \(128, 64\)"
    ):
        merge.merge(tiny_model, Adapter(adapter.scale, wrong), tmp_path / "merged")


@pytest.mark.parametrize("change", [{"use_dora": True}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}}])
def test_an_adapter_that_is_no_plain_lora_is_refused(tiny_model: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(Damaged, match=f"not a plain LoRA adapter: {next(iter(change))}"):
        read_adapter(adapter)


def test_a_merge_that_lost_the_training_warns_and_one_that_is_wrong_fails(capsys: pytest.CaptureFixture[str]) -> None:
    good = Agreement(max_abs_logit_difference=0.1, relative_error=0.01, same_token=1.0, prompts=4)
    judge(0.95, good)
    assert capsys.readouterr().out == ""
    judge(0.48, good)
    assert "only 48% of the update survived rounding" in capsys.readouterr().out
    wrong = Agreement(max_abs_logit_difference=9.0, relative_error=0.9, same_token=0.1, prompts=4)
    with pytest.raises(RuntimeError, match="the merged model is not the trained one: their logits differ by 90%"):
        judge(0.95, wrong)


def test_the_stage_merges_what_the_train_stage_left(train_stage: MakeStage, tmp_path: Path) -> None:
    trained = train_stage(maxEpochs=1)
    trained.run()
    document = trained.document | {
        "stage": "merge",
        "fingerprint": "cd" * 32,
        "config": {},
        "settings": {},
        "inputs": {
            "model": trained.document["inputs"]["model"],
            "train": {"uri": str(trained.output), "fingerprint": trained.document["fingerprint"]},
        },
        "output": str(tmp_path / "merge"),
    }
    assert exit_code_of(Stage(**document), lambda _: merge) == 0
    report = json.loads((tmp_path / "merge/merge_report.json").read_text())
    manifest = json.loads((tmp_path / "merge/manifest.json").read_text())
    assert report["agreement"]["sameArgmax"] == 1.0
    assert report["survived"] == manifest["metrics"]["survived"] == pytest.approx(1.0, abs=1e-3)
    assert {o["path"] for o in manifest["outputs"]} >= {
        "merge_report.json",
        "model/config.json",
        "model/tokenizer.json",
    }
