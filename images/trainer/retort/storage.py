"""Reading and writing artifacts by URI: `s3://bucket/key` (any endpoint boto3 is told of) or a local path.

S3 is no disk: nothing is renamed there, and a file is whole or absent. A directory is the keys under its prefix.
"""

import functools
import os
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from retort.errors import UserError

# 64 MiB parts over 16 connections: a 16 GB model moves at the speed of the network, not of one connection.
TRANSFER = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20, max_concurrency=16)
# Ten tries with back-off outlive a restart of the store.
CLIENT = Config(retries={"mode": "standard", "max_attempts": 10}, connect_timeout=10, read_timeout=60)

NOT_FOUND = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}


def is_remote(uri: str) -> bool:
    return uri.startswith("s3://")


def join(uri: str, *parts: str) -> str:
    return "/".join([uri.rstrip("/"), *parts])


@functools.cache
def _s3() -> Any:
    return boto3.client("s3", config=CLIENT)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def listing(uri: str) -> dict[str, int]:
    """Every file under `uri`: its path relative to `uri` and its size in bytes. Empty if there is none."""
    if not is_remote(uri):
        root = Path(uri)
        return {p.relative_to(root).as_posix(): p.stat().st_size for p in sorted(root.rglob("*")) if p.is_file()}
    bucket, key = _split(uri)
    prefix = key.rstrip("/") + "/"
    pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {o["Key"][len(prefix) :]: o["Size"] for page in pages for o in page.get("Contents", [])}


def directories(uri: str, start: str) -> list[str]:
    """Names of the directories right below `uri` that begin with `start`."""
    if not is_remote(uri):
        return sorted(p.name for p in Path(uri).glob(f"{start}*") if p.is_dir())
    bucket, key = _split(uri)
    prefix = key.rstrip("/") + "/"
    asked = {"Bucket": bucket, "Prefix": prefix + start, "Delimiter": "/"}
    pages = _s3().get_paginator("list_objects_v2").paginate(**asked)
    return [p["Prefix"][len(prefix) : -1] for page in pages for p in page.get("CommonPrefixes", [])]


def read_bytes(uri: str) -> bytes | None:
    """The file's bytes, None if there is no such file."""
    if not is_remote(uri):
        path = Path(uri)
        return path.read_bytes() if path.is_file() else None
    bucket, key = _split(uri)
    try:
        return _s3().get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_FOUND:
            return None
        raise


def write_bytes(uri: str, content: bytes) -> None:
    """Writes a small file whole: a reader sees the old content or the new, never a part."""
    if is_remote(uri):
        bucket, key = _split(uri)
        _s3().put_object(Bucket=bucket, Key=key, Body=content)
        return
    path = Path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def fetch(uri: str, into: Path) -> Path:
    """A local path with the file or directory at `uri`: the path itself if it is local, else a copy under `into`.

    Files that are there already with the right size are not copied again.
    Raises UserError if nothing is there, or the store refuses.
    """
    if not is_remote(uri):
        if not Path(uri).exists():
            raise UserError(f"{uri}: no such file or directory")
        return Path(uri)
    bucket, key = _split(uri)
    try:
        files = listing(uri)
        if not files:  # one object, then
            into.parent.mkdir(parents=True, exist_ok=True)
            _s3().download_file(bucket, key, str(into), Config=TRANSFER)
            return into
        for name, size in files.items():
            path = into / name
            if path.is_file() and path.stat().st_size == size:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            _s3().download_file(bucket, f"{key.rstrip('/')}/{name}", str(path), Config=TRANSFER)
        return into
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in NOT_FOUND:
            raise UserError(f"{uri}: nothing is stored there") from error
        if code in {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}:
            raise UserError(f"{uri}: the store refuses access ({code}); check its credentials") from error
        raise


def publish(path: Path, uri: str) -> None:
    """Copies a local file, or every file of a directory, to `uri`; nothing is to be done where `uri` is `path`."""
    if not is_remote(uri):
        if Path(uri).resolve() != path.resolve():
            raise AssertionError(f"a local stage writes in place, not from {path} to {uri}")
        return
    bucket, key = _split(uri)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        name = key if path.is_file() else f"{key.rstrip('/')}/{file.relative_to(path).as_posix()}"
        _s3().upload_file(str(file), bucket, name, Config=TRANSFER)


def remove(uri: str) -> None:
    """Removes the directory at `uri`, if it is remote: a local one is its owner's."""
    if not is_remote(uri):
        return
    bucket, key = _split(uri)
    for name in listing(uri):
        _s3().delete_object(Bucket=bucket, Key=f"{key.rstrip('/')}/{name}")


STORE_ERRORS = (BotoCoreError, ClientError)
"""What a store that is down or broken raises: worth another attempt, unlike a UserError."""
