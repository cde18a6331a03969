"""A place to go on from: `checkpoints/step-N/`, whole or not counted.

`state.safetensors` holds the adapter, its optimizer moments and the best adapter so far; `progress.json`, written
last, holds the rest and the sha256 of the former. Where that does not fit, the checkpoint is torn and the one before
it is taken.
"""

import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from retort import storage
from retort.early_stopping import EarlyStopping
from retort.manifest import sha256_of

KEPT = 2  # the newest, and one before it in case the newest is torn
MOMENTS = ("exp_avg", "exp_avg_sq")

Weights = dict[str, torch.Tensor]


@dataclass
class Progress:
    """Everything a training run knows beside its tensors. Epochs, row order and learning rate follow from `step`."""

    step: int
    stopping: EarlyStopping
    micro_batch_tokens: int
    history: list[dict[str, Any]] = field(default_factory=list)
    validation: list[dict[str, Any]] = field(default_factory=list)
    resumed_from: list[int] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0


def save(
    directory: Path, progress: Progress, weights: Weights, best: Weights, optimizer: torch.optim.Optimizer
) -> Path:
    """Writes `step-N/` and removes all but the newest KEPT checkpoints. Returns its path."""
    path = directory / f"step-{progress.step}"
    part = directory / f"step-{progress.step}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tensors = {f"weights.{name}": w for name, w in weights.items()} | {f"best.{name}": w for name, w in best.items()}
    for name, weight in weights.items():
        if state := optimizer.state.get(weight):
            tensors |= {f"{moment}.{name}": state[moment] for moment in MOMENTS}
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, part / "state.safetensors")
    record = {"sha256": sha256_of(part / "state.safetensors"), "progress": dataclasses.asdict(progress)}
    (part / "progress.json").write_text(json.dumps(record))
    shutil.rmtree(path, ignore_errors=True)
    part.rename(path)
    for old in _newest_first(directory)[KEPT:]:
        shutil.rmtree(old)
    return path


def load_newest(directory: Path) -> tuple[Progress, Weights] | None:
    """The newest whole checkpoint: its progress and tensors (`weights.*`, `best.*`, `exp_avg.*`, `exp_avg_sq.*`)."""
    for path in _newest_first(directory):
        try:
            record = json.loads((path / "progress.json").read_text())
            if record["sha256"] != sha256_of(path / "state.safetensors"):
                raise OSError("its tensors are not what its progress.json says")
            fields = record["progress"]
            progress = Progress(**fields | {"stopping": EarlyStopping(**fields["stopping"])})
            return progress, load_file(path / "state.safetensors")
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"skipping the torn checkpoint {path.name}: {error}", flush=True)
    return None


def restore(tensors: Weights, weights: Weights, optimizer: torch.optim.Optimizer, step: int) -> Weights:
    """Puts a checkpoint's tensors into the adapter and its optimizer; returns the best adapter so far."""
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[f"weights.{name}"])
            if f"{MOMENTS[0]}.{name}" in tensors:
                moments = {m: tensors[f"{m}.{name}"].to(weight.device) for m in MOMENTS}
                optimizer.state[weight] = {"step": torch.tensor(float(step), device=weight.device)} | moments
    return {name.removeprefix("best."): tensor for name, tensor in tensors.items() if name.startswith("best.")}


def publish(directory: Path, uri: str) -> None:
    """Makes a remote `uri` hold the checkpoints of `directory`: new ones are copied before old ones are removed."""
    if not storage.is_remote(uri):
        return
    there = storage.listing(uri)
    for path in _newest_first(directory):
        if any(there.get(f"{path.name}/{p.name}") != p.stat().st_size for p in path.iterdir()):
            storage.publish(path, storage.join(uri, path.name))
    here = {path.name for path in _newest_first(directory)}
    for old in {name.partition("/")[0] for name in there} - here:
        storage.remove(storage.join(uri, old))


def _newest_first(directory: Path) -> list[Path]:
    steps = [p for p in directory.glob("step-*") if p.is_dir() and p.suffix != ".part"]
    return sorted(steps, key=lambda p: int(p.name.removeprefix("step-")), reverse=True)
