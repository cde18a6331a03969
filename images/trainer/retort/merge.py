"""The merge stage: base model + adapter → one model directory any tool loads; `python -m retort STAGE.json`.

Tensor by tensor: W + (alpha / rank) · B A, summed in fp32 and rounded once to W's own type, in memory of about one
shard.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from retort import events, manifest, model, storage
from retort.agreement import Agreement, agreement
from retort.errors import Damaged, UserError
from retort.stage import STOPPING, Stage, Stopped

RESUMABLE: tuple[str, ...] = ("adapter",)
LITTLE_SURVIVED = 0.9
FAR_OFF = 0.5
OTHER_KINDS = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: `pairs` has a [rank, in] and b [out, rank] for each base tensor, whose update is scale · b a."""

    scale: float
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]

    def update(self, name: str, device: torch.device) -> torch.Tensor:
        a, b = (x.to(device, torch.float32) for x in self.pairs[name])
        return self.scale * (b @ a)


@dataclass
class Survival:
    """How much of an update is left once the sum is rounded: <rounded change, update> / <update, update>.

    1 is all of it, 0 is none. A weight moves only if its update is at least half the distance to the next number that
    its type can hold.
    """

    kept: float = 0.0
    wanted: float = 0.0

    def add(self, change: torch.Tensor, update: torch.Tensor) -> None:
        self.kept += (change * update).sum(dtype=torch.float64).item()
        self.wanted += (update * update).sum(dtype=torch.float64).item()

    @property
    def share(self) -> float:
        return self.kept / self.wanted if self.wanted else 1.0


def main(stage: Stage, work: Path) -> dict[str, Any]:
    source = stage.inputs["model"]
    events.progress("merge", "load", 0, 1, "model")
    base = model.resolve(source["uri"], source["revision"])
    train = stage.inputs["train"]
    trained = manifest.upstream("train", train)
    adapter_dir = storage.fetch(storage.join(train["uri"], "adapter"), work / "adapter")
    manifest.check_copy(trained, adapter_dir, "adapter")
    merged = work / "model"
    overall, tensors = merge(base, read_adapter(adapter_dir), merged)
    events.progress("merge", "verify", 0, 1, "models")
    check = agreement(base, adapter_dir, merged)
    report = {"survived": overall.share, "agreement": check.as_json(), "tensors": tensors}
    (work / "merge_report.json").write_text(json.dumps(report, indent=1))
    judge(overall.share, check)
    return {"survived": overall.share, "agreement": check.same_token}


def read_adapter(directory: Path) -> Adapter:
    """Reads a PEFT LoRA adapter. Raises Damaged where its update is not scale · b a: train makes no other kind."""
    config = json.loads((directory / "adapter_config.json").read_text())
    other = [option for option in OTHER_KINDS if config.get(option)]
    if config["peft_type"] != "LORA" or other:
        raise Damaged(f"{directory}: not a plain LoRA adapter: {', '.join(other) or config['peft_type']}")
    tensors = load_file(directory / "adapter_model.safetensors")
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        module, side, _ = name.removeprefix("base_model.model.").rsplit(".", 2)
        sides.setdefault(f"{module}.weight", {})[side] = tensor
    pairs = {name: (pair["lora_A"], pair["lora_B"]) for name, pair in sides.items()}
    return Adapter(config["lora_alpha"] / config["r"], pairs)


def merge(base: Path, adapter: Adapter, into: Path) -> tuple[Survival, list[dict[str, Any]]]:
    """Writes the merged model, with the base's own shards, tokenizer and configs, to `into`.

    Returns what survived rounding, overall and by tensor. Raises UserError if the adapter has a tensor that the base
    model has no place for: a merge that leaves out part of what was trained is no merge.
    """
    into.mkdir(parents=True, exist_ok=True)
    for path in sorted(base.iterdir()):
        if path.suffix in {".json", ".jinja", ".model", ".txt"}:
            shutil.copyfile(path, into / path.name)
    shards = sorted(base.glob("*.safetensors"))
    total = sum(len(_names(shard)) for shard in shards)
    overall, tensors, done = Survival(), [], 0
    for shard in shards:
        merged = {}
        for name, weight in _tensors(shard):
            merged[name] = weight
            if name in adapter.pairs:
                merged[name], survival, largest = _merged(weight, adapter, name)
                overall.kept, overall.wanted = overall.kept + survival.kept, overall.wanted + survival.wanted
                tensors.append({"name": name, "survived": survival.share, "maxAbsUpdate": largest})
            done += 1
            if STOPPING.is_set():
                raise Stopped
            if done % 20 == 0 or done == total:
                events.progress("merge", "merge", done, total, "tensors")
        save_file(merged, into / shard.name, metadata={"format": "pt"})
        (into / shard.name).chmod(0o644)  # safetensors makes files that only their owner may read
    unused = sorted(adapter.pairs.keys() - {t["name"] for t in tensors})
    if unused:
        raise UserError(f"the base model has no tensor for {len(unused)} of the adapter's: {', '.join(unused[:5])}")
    return overall, tensors


def judge(survived: float, check: Agreement) -> None:
    """Warns where rounding ate the training; raises RuntimeError where the merged model is not what was trained."""
    if survived < LITTLE_SURVIVED:
        events.warning(
            "merge",
            f"only {survived:.0%} of the update survived rounding to the base model's type: the merged model is not "
            "quite the trained one. A larger train.learningRate or lora.alpha makes updates that survive.",
        )
    elif check.relative_error > FAR_OFF:
        raise RuntimeError(
            f"the merged model is not the trained one: their logits differ by {check.relative_error:.0%} of what "
            "training changed"
        )


def _merged(weight: torch.Tensor, adapter: Adapter, name: str) -> tuple[torch.Tensor, Survival, float]:
    device = model.device()
    old, update = weight.to(device, torch.float32), adapter.update(name, device)
    if old.shape != update.shape:
        raise Damaged(f"{name}: the adapter's update is {tuple(update.shape)}, the base tensor {tuple(old.shape)}")
    new = (old + update).to(weight.dtype)
    survival = Survival()
    survival.add(new.float() - old, update)
    return new.cpu().contiguous(), survival, update.abs().max().item()


def _names(shard: Path) -> list[str]:
    with safe_open(shard, "pt") as file:
        return list(file.keys())


def _tensors(shard: Path) -> Iterator[tuple[str, torch.Tensor]]:
    with safe_open(shard, "pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dict
            yield name, file.get_tensor(name)
