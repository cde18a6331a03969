"""The train stage: a LoRA adapter on curated failures; `python -m retort STAGE.json`.

Set-up, resume, loop, save.
"""

import json
import math
import time
from pathlib import Path
from typing import Any, cast

import peft
import torch
from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel

from retort import attention, checkpoint, dataset, events, model, storage, workers
from retort.checkpoint import Progress, Weights
from retort.data import Kind
from retort.dataset import Dataset
from retort.early_stopping import EarlyStopping
from retort.errors import UserError
from retort.manifest import sha256_of
from retort.stage import STOPPING, Stage, Stopped
from retort.update import accumulate_in_memory, learning_rate, mean_loss

RESUMABLE: tuple[str, ...] = ("checkpoints", "data")
UPLOAD_SECONDS = 10  # how old TensorBoard's copy of a running stage may be


def main(stage: Stage, work: Path) -> dict[str, Any] | None:
    config = stage.config["train"]
    torch.manual_seed(config["seed"])
    events.progress("train", "load", 0, 1, "model")
    base = stage.inputs["model"]
    # Before the workers meet: of those that have met, transformers lets only the first one write a converted model.
    directory = model.resolve(base["uri"], base["revision"])
    workers.start()
    tokenizer = model.load_tokenizer(directory)
    called = {kind: source["uri"] for kind, source in stage.inputs["data"].items()}
    data = dataset.build(_fetch_data(stage, work), tokenizer, stage.config["data"], config, called=called)
    for reason in data.left_out:
        print(f"left out, longer than data.maxTokens: {reason}")
    run = Run(stage, work, data, adapt(model.load(directory, attention.NAME), config["lora"], base))
    run.resume()
    run.loop()
    return run.finish() if workers.is_first() else None


def adapt(
    base: PreTrainedModel, lora: dict[str, Any], source: dict[str, str], *, compiled: bool = True
) -> peft.PeftModel:
    """The base model, frozen, with a fresh adapter (fp32) on the linear layers that `lora.targets` names.

    On CUDA its decoder layers are compiled, the first update then takes a minute longer and all others are faster.
    """
    config = peft.LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        target_modules=lora["targets"],
        task_type="CAUSAL_LM",
        revision=source["revision"],
    )
    adapted = peft.get_peft_model(base, config)
    config.base_model_name_or_path = source["uri"]  # PEFT puts the path of this machine's copy there
    if compiled and base.device.type == "cuda":
        torch._dynamo.config.cache_size_limit = 64
        for layer in cast(torch.nn.ModuleList, base.get_decoder().layers):
            layer.compile(dynamic=True)
    return adapted


class Run:
    """A training run in memory. Beside the tensors, `progress` is all that a resume needs."""

    def __init__(self, stage: Stage, work: Path, data: Dataset, adapted: peft.PeftModel) -> None:
        self.stage, self.work, self.data, self.model = stage, work, data, adapted
        self.config = stage.config["train"]
        self.weights: Weights = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
        self.best: Weights = {}
        self.optimizer = torch.optim.AdamW(self.weights.values(), weight_decay=0.0, fused=True)
        self.per_epoch = dataset.updates_per_epoch(len(data.train), self.config["rowsPerUpdate"])
        self.total = self.config["maxEpochs"] * self.per_epoch
        early = self.config["earlyStopping"]
        self.progress = Progress(
            step=0,
            stopping=EarlyStopping(early["patience"], early["minDelta"]),
            micro_batch_tokens=stage.settings["microBatchTokens"],
        )

    def resume(self) -> None:
        """Goes on from the newest whole checkpoint, if there is one."""
        kept = storage.join(self.stage.output, "checkpoints")
        if storage.listing(kept):
            storage.fetch(kept, self.work / "checkpoints")
        newest = checkpoint.load_newest(self.work / "checkpoints")
        if newest is None:
            return
        self.progress, tensors = newest
        self.best = checkpoint.restore(tensors, self.weights, self.optimizer, self.progress.step)
        self.progress.resumed_from.append(self.progress.step)
        print(f"resumed from step {self.progress.step} of {self.total}", flush=True)

    def loop(self) -> None:
        progress = self.progress
        if workers.is_first():
            self.board = SummaryWriter(str(self.work / "tensorboard"), purge_step=progress.step + 1, flush_secs=5)
        self.uploaded_at = time.monotonic()
        self.pace = events.Pace(self.total, progress.step)
        if progress.step == 0:
            self.validate()
        while progress.step < self.total and not progress.stopping.exhausted:
            self.stop_if_asked()
            self.update()
            last = progress.step == self.total
            if progress.step % self.config["evalEvery"] == 0 or last:
                self.validate()
            if progress.step % self.stage.settings["saveEvery"] == 0:
                self.save()
        if workers.is_first():
            self.board.close()

    def update(self) -> None:
        """One update: whole rows, however many micro-batches they take."""
        started = time.monotonic()
        progress, config = self.progress, self.config
        step = progress.step + 1
        rows = dataset.update_rows(self.data.train, config["rowsPerUpdate"], config["seed"], step)
        rate = learning_rate(step, config, self.total)
        size = progress.micro_batch_tokens
        targets = sum(row.targets for row in rows)
        loss, progress.micro_batch_tokens = accumulate_in_memory(self.model, workers.share(rows), size, targets)
        if progress.micro_batch_tokens < size:
            events.warning("train", f"out of memory: micro-batches of {progress.micro_batch_tokens} tokens, not {size}")
        for weight in self.weights.values():
            if weight.grad is None:  # a worker without a row of a short update: all must add up the same tensors
                weight.grad = torch.zeros_like(weight)
        workers.add_up([loss, *(cast(torch.Tensor, w.grad) for w in self.weights.values())])
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), config["maxGradNorm"]).item()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.record(step, loss.item(), norm, rate, sum(map(len, rows)), time.monotonic() - started)

    def record(self, step: int, loss: float, norm: float, rate: float, tokens: int, seconds: float) -> None:
        progress = self.progress
        progress.step, progress.tokens, progress.seconds = step, progress.tokens + tokens, progress.seconds + seconds
        row = {"loss": loss, "gradNorm": norm, "learningRate": rate, "tokensPerSecond": round(tokens / seconds, 1)}
        progress.history.append({"step": step, "epoch": round(step / self.per_epoch, 3), **row})
        if not workers.is_first():
            return
        for name, value in row.items():
            self.board.add_scalar(f"train/{name}", value, step)
        self.speak("train", loss, tokensPerSecond=row["tokensPerSecond"], secondsLeft=self.pace.seconds_left(step))
        if time.monotonic() - self.uploaded_at > UPLOAD_SECONDS:
            self.upload("tensorboard")
            self.uploaded_at = time.monotonic()

    def validate(self) -> None:
        """Step 0 is the base model itself: what training has to beat, and no candidate for the best adapter."""
        progress = self.progress
        started = time.monotonic()
        loss = mean_loss(self.model, self.data.validation, progress.micro_batch_tokens)
        progress.seconds += time.monotonic() - started
        progress.validation.append({"step": progress.step, "loss": loss, "perplexity": math.exp(min(loss, 700.0))})
        if progress.step and progress.stopping.update(progress.step, loss):
            self.best = {name: w.detach().cpu().clone() for name, w in self.weights.items()}
        if workers.is_first():
            self.board.add_scalar("validation/loss", loss, progress.step)
            self.board.add_scalar("validation/perplexity", math.exp(min(loss, 700.0)), progress.step)
            self.speak("validate", loss)

    def speak(self, phase: str, loss: float, **fields: float | None) -> None:
        shown = loss if math.isfinite(loss) else None
        events.progress("train", phase, self.progress.step, self.total, "updates", loss=shown, **fields)

    def stop_if_asked(self) -> None:
        if workers.any_of(STOPPING.is_set(), self.model.device):
            self.save()
            raise Stopped

    def save(self) -> None:
        if workers.is_first():
            checkpoint.save(self.work / "checkpoints", self.progress, self.weights, self.best, self.optimizer)
            checkpoint.publish(self.work / "checkpoints", storage.join(self.stage.output, "checkpoints"))
            self.upload("tensorboard")

    def upload(self, name: str) -> None:
        target = storage.join(self.stage.output, name)
        storage.publish(self.work / name, target)

    def finish(self) -> dict[str, Any]:
        """Leaves the best step's adapter, the summary and what was seen; returns the stage's metrics."""
        progress, stopping = self.progress, self.progress.stopping
        if not self.best:
            raise UserError("no validation loss was ever a number: the training diverged; lower train.learningRate")
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.best[name])
        self.model.save_pretrained(str(self.work / "adapter"), save_embedding_layers=False)
        before = progress.validation[0]["loss"]
        if stopping.best >= before:
            losses = f"{stopping.best:.4f}, from {before:.4f}"
            events.warning("train", f"validation loss did not get better than the base model's: {losses}")
        metrics = {
            "baseLoss": before,
            "bestLoss": stopping.best,
            "bestStep": stopping.best_step,
            "steps": progress.step,
            "stoppedEarly": stopping.exhausted and progress.step < self.total,
            "seconds": round(progress.seconds, 1),
            "tokens": progress.tokens,
        }
        summary = metrics | {
            "epochs": round(progress.step / self.per_epoch, 3),
            "trainRows": len(self.data.train),
            "validationRows": len(self.data.validation),
            "leftOut": self.data.left_out,
            "resumedFrom": progress.resumed_from,
            "microBatchTokens": progress.micro_batch_tokens,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "history": progress.history,
            "validation": progress.validation,
        }
        (self.work / "training_summary.json").write_text(json.dumps(summary, indent=1))
        (self.work / "seen.json").write_text(json.dumps(self.data.keys))
        return metrics


def _fetch_data(stage: Stage, work: Path) -> dict[Kind, Path]:
    """Local paths of the data files; raises UserError if one is no longer what the fingerprint was made from."""
    files = {}
    for kind, source in stage.inputs["data"].items():
        path = storage.fetch(source["uri"], work / "data" / f"{kind}.jsonl")
        if sha256_of(path) != source["sha256"]:
            raise UserError(f"{source['uri']}: has changed since the run was planned; run the same command again")
        files[kind] = path
    return files
