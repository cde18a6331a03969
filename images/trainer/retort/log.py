"""Keeps what a stage prints beside its artifacts: a pod's own log goes when the pod does.

A local launcher keeps the log of a local stage; with a remote output the stage does it itself.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retort import storage


@contextmanager
def kept(path: Path, output: str) -> Iterator[None]:
    """Copies stdout and stderr to `path` while in the block, and then to `output`/logs/, if that is remote."""
    if not storage.is_remote(output):
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # A process of its own, out of reach of a Ctrl-C: the last line written is kept even if this process is killed.
    tee = subprocess.Popen(["tee", "--append", str(path)], stdin=subprocess.PIPE, start_new_session=True)
    assert tee.stdin is not None
    before = {fd: os.dup(fd) for fd in (1, 2)}
    for fd in before:
        os.dup2(tee.stdin.fileno(), fd)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, old in before.items():
            os.dup2(old, fd)
            os.close(old)
        tee.stdin.close()
        tee.wait()
        _publish(path, output)


def _publish(path: Path, output: str) -> None:
    worker = os.environ.get("RANK")
    name = socket.gethostname() + (f"-{worker}" if worker else "")  # a pod's host name is its own name
    try:
        storage.publish(path, storage.join(output, "logs", f"{name}.log"))
    except storage.STORE_ERRORS as error:
        print(f"warning: this log could not be kept: {error}", file=sys.stderr, flush=True)
