"""Runs a command on behalf of a launcher, and lets nothing of it outlive either of them.

`leash.py GRACE_SECONDS LOG COMMAND...`: output goes to LOG and on to stdout; stdin is only there to be closed, which
the kernel does however the launcher dies. Ends with the command's exit code (128 + n for signal n).

SIGTERM is passed on to the command, which saves and exits; a second one kills it. A closed stdin is a SIGTERM, and
GRACE_SECONDS later a second one. Once the command is gone, so are all its descendants: on Linux even those that left
its process group. Standard library only, so that it runs before any environment exists.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import BinaryIO

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform == "linux"


def prctl(option: int, value: int) -> None:
    if LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class Leash:
    """One command and everything that it starts."""

    def __init__(self, command: list[str], grace_seconds: float):
        # Orphans below become children of this process, so that they can be found and ended.
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # should the leash itself be killed
        )
        assert process.stdout is not None
        self.pid = process.pid
        self.output: BinaryIO = process.stdout  # type: ignore[assignment]
        self.grace_seconds = grace_seconds
        self.asked = False
        self.kill_at: float | None = None
        self.exit_code: int | None = None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.asked:
            self.kill()
        else:
            self.ask()

    def ask(self) -> None:
        """Asks the command to save and exit."""
        self.asked = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def launcher_is_gone(self) -> None:
        if not self.asked:
            self.ask()
        self.kill_at = time.monotonic() + self.grace_seconds

    def kill(self) -> None:
        """Kills the command's process group and, on Linux, every descendant."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def reap(self) -> bool:
        """Collects the processes that ended; true while any is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(status)
                self.exit_code = code if code >= 0 else 128 - code

    def end_descendants(self) -> None:
        """Kills until nothing is left: a process killed while it forks leaves a child to be found next time."""
        while True:
            self.kill()
            if not self.reap():
                return
            time.sleep(0.01)


def descendants(root: int) -> list[int]:
    """All processes below `root`, from /proc; none where there is no /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat") if LINUX else []:
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything: the fields begin after the last one.
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    found: list[int] = []
    below = {root}
    while below:
        below = {pid for pid, parent in parents.items() if parent in below}
        found += below
    return found


class Tee:
    """Writes to the log, and to stdout while somebody reads it."""

    def __init__(self, log: Path):
        self.log = log.open("ab", buffering=0)
        self.stdout_open = True

    def write(self, chunk: bytes) -> None:
        self.log.write(chunk)
        while chunk and self.stdout_open:
            try:
                chunk = chunk[os.write(1, chunk) :]
            except OSError:  # the launcher is gone
                self.stdout_open = False


def run(leash: Leash, tee: Tee) -> int:
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    os.set_blocking(leash.output.fileno(), False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leash.on_signal)
    selector = selectors.DefaultSelector()
    for source in (0, wake, leash.output):
        selector.register(source, selectors.EVENT_READ)

    while leash.exit_code is None:
        timeout = None if leash.kill_at is None else max(0.0, leash.kill_at - time.monotonic())
        for key, _ in selector.select(timeout):
            if key.fd == wake:
                os.read(wake, 4096)
            elif key.fd == 0:
                if not os.read(0, 4096):
                    selector.unregister(0)
                    leash.launcher_is_gone()
            elif chunk := leash.output.read(65536):
                tee.write(chunk)
            elif chunk == b"":
                selector.unregister(leash.output)
        if leash.kill_at is not None and time.monotonic() >= leash.kill_at:
            leash.kill()
            leash.kill_at = time.monotonic() + 1
        leash.reap()

    leash.end_descendants()
    while chunk := leash.output.read(65536):
        tee.write(chunk)
    return leash.exit_code


if __name__ == "__main__":
    grace, log, *command = sys.argv[1:]
    tee = Tee(Path(log))
    try:
        leash = Leash(command, float(grace))
    except OSError as error:
        tee.write(f"{command[0]}: {error.strerror}\n".encode())
        sys.exit(127)
    sys.exit(run(leash, tee))
