"""Every test of the evaluator starts from a finished train and merge, in a directory of its own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from finished_run import FinishedRun, row

from retort import storage

MakeRun = Callable[..., FinishedRun]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes a run of `count` rows that the base model gets wrong and the merged one right; keywords change it."""

    def make(count: int = 6, **changes: object) -> FinishedRun:
        rows = [row(f"Order {i} chairs as JSON.", json.dumps({"item": "chair", "count": i})) for i in range(count)]
        answers = {
            "base": {r["instruction"]: "Sure! Here are your chairs." for r in rows},
            "merged": {r["instruction"]: r["reference_answer"] for r in rows},
        }
        return FinishedRun(tmp_path, **({"rows": rows} | answers | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a real S3 server over HTTP."""
    from moto.server import ThreadedMotoServer  # slow to import, and most tests need none

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    storage._s3.cache_clear()
    boto3.client("s3").create_bucket(Bucket="runs")
    yield "s3://runs/demo"
    storage._s3.cache_clear()
    server.stop()
