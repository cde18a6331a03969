"""Runs a server so that nothing of it outlives the evaluator: `python keeper.py COMMAND…`, standard input kept open.

The server ends when standard input does: the evaluator closes it to stop the server, and the kernel closes it if the
evaluator is killed. Whatever the server started ends with it, and the keeper returns only once it is gone.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

GRACE_SECONDS = 10
"""From being asked to stop to being killed."""

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main(command: list[str]) -> int:
    """The server's exit code, as a shell counts it: 128 + the signal that ended it."""
    _adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # sent to everyone, it is for the evaluator, which then closes our input
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_input, args=[server.pid], daemon=True).start()
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    # Not reaped yet, the server still holds its id: the group that is killed cannot be another's.
    _signal_group(server.pid, signal.SIGKILL)
    code = server.wait()
    while left := _children():  # killed with the group or not in it; their own children come to us in turn
        for child in left:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return 128 - code if code < 0 else code


def _end_with_input(group: int) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    _signal_group(group, signal.SIGTERM)
    threading.Event().wait(GRACE_SECONDS)
    _signal_group(group, signal.SIGKILL)


def _adopt_orphans() -> None:
    """Makes this process the parent of every process below it that loses its own, so that it can wait for them."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children() -> list[int]:
    listings = Path("/proc/self/task").glob("*/children")
    return [int(pid) for listing in listings for pid in listing.read_text().split()]


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
