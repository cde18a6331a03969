"""TensorBoard over a run's event files: keeps a local copy of what the store has, and serves it on port 6006.

Reading the store directly would list it without end, which is slow and costs money. The copy is rebuilt from nothing
after a restart. $RETORT_RUN is the s3:// URI of the run: events lie under its <stage>-<fingerprint>/tensorboard/.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

LOGS = Path("/logs")
COPY_SECONDS = 5
PORT = 6006


def main() -> int:
    # The first process of a container is deaf to it otherwise, and takes half a minute to be killed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    command = ["tensorboard", "--logdir", LOGS, "--host", "0.0.0.0", "--port", str(PORT), "--reload_interval", "5"]
    board = subprocess.Popen([*command, "--reload_multifile", "true"])
    client = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 3}))
    bucket, _, prefix = os.environ["RETORT_RUN"].removeprefix("s3://").partition("/")
    while board.poll() is None:
        try:
            copy_new(client, bucket, prefix.rstrip("/") + "/")
        except (BotoCoreError, ClientError) as error:  # the store may be back the next time
            print(f"the store does not answer: {error}", file=sys.stderr, flush=True)
        time.sleep(COPY_SECONDS)
    return board.returncode


def copy_new(client: Any, bucket: str, prefix: str) -> None:
    """Appends to each local event file what the store has more of it: TensorBoard keeps them open, and reads on."""
    stages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    for stage in [p["Prefix"] for page in stages for p in page.get("CommonPrefixes", [])]:
        events = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{stage}tensorboard/")
        for found in [o for page in events for o in page.get("Contents", [])]:
            path = LOGS / stage.removeprefix(prefix) / Path(found["Key"]).name
            have = path.stat().st_size if path.exists() else 0
            if found["Size"] <= have:
                continue
            more = client.get_object(Bucket=bucket, Key=found["Key"], Range=f"bytes={have}-", IfMatch=found["ETag"])
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(more["Body"].read())


if __name__ == "__main__":
    sys.exit(main())
