"""A real, tiny chat model (random weights, a tokenizer of its own), and train stages that run on it as processes."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from retort import train
from retort.stage import Stage, exit_code_of

ROOT = Path(__file__).parents[2]
torch.set_num_threads(1)  # as the processes below: the order of sums decides the last bits
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 2 layers in several shards, fp32, that reads and writes bytes.

    Like SmolLM2's, its pad token is its end token.
    """
    directory = tmp_path_factory.mktemp("tiny-model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    fast.chat_template = CHATML
    fast.save_pretrained(directory)
    start, end = fast.get_vocab()["<|im_start|>"], fast.get_vocab()["<|im_end|>"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
    )
    LlamaForCausalLM(config).save_pretrained(directory, max_shard_size="100KB")
    return directory


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


@dataclass
class TrainStage:
    """A train stage's document, and the process that runs it."""

    path: Path
    document: dict[str, Any]

    @property
    def output(self) -> Path:
        return Path(self.document["output"])

    def start(self, *launcher: str) -> subprocess.Popen[str]:
        self.path.write_text(json.dumps(self.document))
        path = os.pathsep.join([str(ROOT / "images/trainer"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *launcher, "-m", "retort", str(self.path)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=self.path.parent
        )

    def run(self, expected: int = 0) -> str:
        """Runs to its end within this process (loading torch takes longer than the run). Returns what it printed."""
        self.path.write_text(json.dumps(self.document))
        with redirect_stdout(StringIO()) as printed, redirect_stderr(printed):
            code = exit_code_of(Stage.load(self.path), lambda _: train)
        assert code == expected, printed.getvalue()
        return printed.getvalue()

    def run_until(self, step: int, signal: int) -> int:
        """Sends the signal once the update `step` is done; returns the exit code."""
        process = self.start()
        assert process.stdout
        for line in process.stdout:
            if '"phase": "train"' in line and json.loads(line)["step"] >= step:
                process.send_signal(signal)
                break
        else:
            pytest.fail(f"ended before update {step}")
        process.communicate(timeout=60)
        return process.returncode

    def summary(self) -> dict[str, Any]:
        return json.loads((self.output / "training_summary.json").read_text())


def write_rows(path: Path, count: int, seed: int = 0) -> Path:
    """Hard failures of varied length."""
    draw = random.Random(seed)
    with path.open("w") as file:
        for i in range(count):
            words = " ".join(draw.choice(["pear", "fig", "plum"]) for _ in range(draw.randrange(1, 8)))
            row = {"instruction": f"Order {i}: {words}", "reference_answer": json.dumps(words.split()), "category": "c"}
            file.write(json.dumps(row) + "\n")
    return path


MakeStage = Callable[..., TrainStage]


@pytest.fixture
def train_stage(tmp_path: Path, tiny_model: Path) -> MakeStage:
    """Makes a train stage in a directory of its own; keywords change the train config."""

    def make(name: str = "run", *, micro_batch_tokens: int = 4096, save_every: int = 2, **changes: Any) -> TrainStage:
        directory = tmp_path / name
        directory.mkdir()
        rows = write_rows(directory / "rows.jsonl", 40)
        settings = {
            "maxEpochs": 2,
            "learningRate": 1e-2,
            "schedule": "cosine",
            "warmupUpdates": 2,
            "maxGradNorm": 1.0,
            "rowsPerUpdate": 8,
            "lora": {"rank": 4, "alpha": 8, "targets": "all-linear"},
            "validationSplit": 0.1,
            "evalEvery": 2,
            "earlyStopping": {"patience": 3, "minDelta": 0},
            "seed": 17,
        }
        sha256 = hashlib.sha256(rows.read_bytes()).hexdigest()
        document = {
            "stage": "train",
            "run": "test",
            "fingerprint": "ab" * 32,
            "image": "local@sha256:00",
            "lock": "00",
            "config": {
                "data": {"maxTokens": 2048, "selfCritiqueFormat": "answer", "rowLimit": None},
                "train": settings | changes,
            },
            "settings": {"microBatchTokens": micro_batch_tokens, "saveEvery": save_every},
            "inputs": {
                "model": {"uri": str(tiny_model), "revision": "sha256:tiny"},
                "data": {"hardFailures": {"uri": str(rows), "sha256": sha256}},
            },
            "output": str(directory / "out"),
        }
        return TrainStage(directory / "stage.json", document)

    return make
