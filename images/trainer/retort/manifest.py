"""`manifest.json`, written last: the truth about a stage. With a valid one it is done, whatever became of its Job."""

import hashlib
import json
from pathlib import Path
from typing import Any

from retort import storage
from retort.errors import Damaged

NAME = "manifest.json"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def outputs_of(directory: Path, resumable: tuple[str, ...]) -> list[dict[str, Any]]:
    """Path, size in bytes and sha256 of every file in `directory` that is a result.

    Not results: the manifest, logs (still being written) and what `resumable` names (only there to go on from).
    """
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    names = [(p, p.relative_to(directory).as_posix()) for p in files]
    kept = [(p, n) for p, n in names if n not in {NAME, "stage.json"} and not n.endswith((".log", ".part"))]
    return [
        {"path": n, "bytes": p.stat().st_size, "sha256": sha256_of(p)}
        for p, n in kept
        if not n.startswith(tuple(f"{r}/" for r in resumable))
    ]


def read_valid(output: str, fingerprint: str) -> dict[str, Any] | None:
    """The manifest at `output` if it is this fingerprint's and every artifact it names is there with its size."""
    content = storage.read_bytes(storage.join(output, NAME))
    if content is None:
        return None
    try:
        manifest = json.loads(content)
        named = {o["path"]: o["bytes"] for o in manifest["outputs"]}
        if manifest["fingerprint"] != fingerprint:
            return None
    except (ValueError, KeyError, TypeError):  # torn or foreign: as good as none
        return None
    there = storage.listing(output)
    return manifest if named and all(there.get(path) == size for path, size in named.items()) else None


def upstream(stage: str, source: dict[str, str]) -> dict[str, Any]:
    """The manifest of an earlier stage. Raises Damaged if it is not finished, or its artifacts are gone."""
    valid = read_valid(source["uri"], source["fingerprint"])
    if valid is None:
        raise Damaged(f"{source['uri']}: {stage} is not finished there, or its artifacts are gone; run {stage} again")
    return valid


def check_copy(upstream: dict[str, Any], directory: Path, name: str) -> None:
    """Raises Damaged unless `directory` holds what the manifest promises below `name`, byte for byte."""
    for output in upstream["outputs"]:
        if not output["path"].startswith(f"{name}/"):
            continue
        copy = directory / output["path"].removeprefix(f"{name}/")
        if not copy.is_file() or sha256_of(copy) != output["sha256"]:
            raise Damaged(
                f"{output['path']} is not what {upstream['stage']} left: it was damaged since. Put it back, or remove "
                f"the manifest.json beside {name}/, and {upstream['stage']} runs again"
            )
