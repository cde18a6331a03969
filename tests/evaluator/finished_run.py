"""A run whose train and merge are done, on disk, and the evaluate stage that follows: real files, small models.

The models answer from tables (`role_server.py`); their tokenizer is real, and reads bytes.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

from retort.data import instruction_key
from retort.stage import Stage

ROOT = Path(__file__).parents[2]
ROLE_SERVER = Path(__file__).with_name("role_server.py")
TEMPLATE = "{% for m in messages %}{{ 'Q: ' + m['content'] + '\nA: ' }}{% endfor %}"

TestRow = dict[str, str]


def row(instruction: str, reference: str, category: str = "orders") -> TestRow:
    return {"instruction": instruction, "reference_answer": reference, "category": category}


@dataclass
class FinishedRun:
    """`base` and `merged`: what each model answers, by instruction: text, or text and finish reason."""

    directory: Path
    rows: list[TestRow]
    base: dict[str, Any] = field(default_factory=dict)
    merged: dict[str, Any] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    """Instructions that the model was trained on."""
    summary: dict[str, Any] = field(default_factory=dict)
    merge_report: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 4

    def __post_init__(self) -> None:
        self.base_model = self.directory / "base-model"
        self.train = self.directory / "runs/demo/train-aaaaaaaaaaaa"
        self.merge = self.directory / "runs/demo/merge-bbbbbbbbbbbb"
        self.output = self.directory / "runs/demo/evaluate-cccccccccccc"
        self.test_file = self.directory / "test.jsonl"
        self.questions_file = self.directory / "questions.jsonl"
        self.pids_file = self.directory / "pids"
        self.questions_file.touch()
        write_model(self.base_model)
        write_model(self.merge / "model")
        self.test_file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows))
        self.set_role("base")
        self.set_role("merged")
        self._write_train()
        self._write_merge()

    def set_role(self, name: str, **faults: Any) -> None:
        """What a model's server does: its answers, and its faults."""
        model = {"base": self.base_model, "merged": self.merge / "model"}[name]
        answers = {"base": self.base, "merged": self.merged}[name]
        role = {
            "answers": {q: a if isinstance(a, list) else [a, "stop"] for q, a in answers.items()},
            "questions": str(self.questions_file),
            "pids": str(self.pids_file),
        }
        (model / "role.json").write_text(json.dumps(role | faults))

    def document(self) -> dict[str, Any]:
        return {
            "stage": "evaluate",
            "run": "demo",
            "fingerprint": "c" * 64,
            "image": "local@sha256:" + "e" * 64,
            "lock": "f" * 64,
            "config": {
                "data": {"rowLimit": None},
                "evaluate": {
                    "maxNewTokens": 64,
                    "temperature": 0,
                    "server": {
                        "command": [sys.executable, str(ROLE_SERVER), "{model}", "--port", "{port}"],
                    },
                },
            },
            "settings": {"concurrency": self.concurrency, "startTimeoutMinutes": 2},
            "inputs": {
                "model": {"uri": str(self.base_model), "revision": "sha256:" + "d" * 64},
                "data": {"test": {"uri": str(self.test_file), "sha256": _sha256(self.test_file)}},
                "train": {"uri": str(self.train), "fingerprint": "a" * 64},
                "merge": {"uri": str(self.merge), "fingerprint": "b" * 64},
            },
            "output": str(self.output),
        }

    def stage(self) -> Stage:
        self.output.mkdir(parents=True, exist_ok=True)
        return Stage(**self.document())

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """The evaluate stage as a process."""
        path = self.directory / "stage.json"
        path.write_text(json.dumps(self.document()))
        paths = os.pathsep.join([str(ROOT / "images/trainer"), str(ROOT / "images/evaluator")])
        return subprocess.Popen(
            [sys.executable, "-m", "retort_evaluate", str(path)],
            env=os.environ | {"PYTHONPATH": paths} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def questions(self) -> list[dict[str, Any]]:
        """Every request that any server of this run got, in order."""
        return [json.loads(line) for line in self.questions_file.read_text().splitlines()]

    def server_pids(self) -> list[int]:
        return [int(pid) for pid in self.pids_file.read_text().split()]

    def responses(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.output / "responses.jsonl").read_text().splitlines()]

    def report(self) -> dict[str, Any]:
        return json.loads((self.output / "report.json").read_text())

    def _write_train(self) -> None:
        summary = {
            "history": [
                {"step": s, "epoch": s / 10, "loss": 2 / s, "gradNorm": 1 + 3 / s, "learningRate": 1e-4}
                for s in range(1, 31)
            ],
            "validation": [
                {"step": s, "loss": 0.1 + 2 / (s + 1), "perplexity": 1 + 1 / (s + 1)} for s in range(0, 31, 5)
            ],
            "bestStep": 25,
            "bestLoss": 0.177,
            "steps": 30,
            "stoppedEarly": False,
            "trainRows": 228,
            "validationRows": 12,
            "leftOut": [],
            "resumedFrom": [],
            "seconds": 151.2,
            "tokens": 24310,
            "device": "cpu",
        } | self.summary
        write_stage(
            self.train,
            "train",
            "a" * 64,
            {
                "training_summary.json": json.dumps(summary),
                "seen.json": json.dumps(sorted(instruction_key(text) for text in self.seen)),
            },
            config={"data": {"maxTokens": 512}, "train": {"maxEpochs": 3, "learningRate": 5e-4}},
            inputs={"data": {"hardFailures": {"uri": "/data/hard_failures.jsonl", "sha256": "9" * 64}}},
        )

    def _write_merge(self) -> None:
        report = {
            "survived": 0.987,
            "agreement": {"maxAbsLogitDifference": 0.31, "relativeError": 0.01, "sameArgmax": 0.99, "prompts": 4},
            "tensors": [
                {"name": f"model.layers.{i}.self_attn.q_proj.weight", "survived": 0.9 + i / 100, "maxAbsUpdate": 1e-3}
                for i in range(8)
            ],
        } | self.merge_report
        write_stage(self.merge, "merge", "b" * 64, {"merge_report.json": json.dumps(report)}, config={}, inputs={})


def write_stage(
    directory: Path, stage: str, fingerprint: str, files: dict[str, str], config: dict[str, Any], inputs: dict[str, Any]
) -> None:
    """Artifacts and the manifest that vouches for all files of the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_text(content)
    there = [p for p in sorted(directory.rglob("*")) if p.is_file() and p.name != "role.json"]
    manifest = {
        "stage": stage,
        "fingerprint": fingerprint,
        "image": "local@sha256:" + "7" * 64,
        "lock": "8" * 64,
        "config": config,
        "inputs": inputs,
        "outputs": [
            {"path": p.relative_to(directory).as_posix(), "bytes": p.stat().st_size, "sha256": _sha256(p)}
            for p in there
        ],
        "startedAt": "2026-11-20T10:00:00+00:00",
        "finishedAt": "2026-11-20T10:03:05+00:00",
        "metrics": {},
    }
    (directory / "manifest.json").write_text(json.dumps(manifest))


def write_model(directory: Path) -> None:
    """All of a chat model but its weights: nobody loads them here. Its tokens are bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "chat_template": TEMPLATE}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 2048}))
    (directory / "model.safetensors").write_bytes(b"")


def gone(pids: list[int], within_seconds: float = 15) -> bool:
    """Whether all processes end in time. One that ended but was not waited for by its parent has ended."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if not any(_running(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
