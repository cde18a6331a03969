"""What every stage process does around its own work: document, skip if done, stop when asked, manifest.

The document (JSON, made by jobs/stages.ts) is all a stage knows; `python -m retort STAGE.json`.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol

from retort import events, log, machine, manifest, storage
from retort.errors import Damaged, UserError

USER_MISTAKE = 2
STOPPED = 143  # 128 + SIGTERM: saved, and may go on

STOPPING = threading.Event()
"""Set by SIGTERM or Ctrl-C. A stage's loop looks at it and raises `Stopped` once its work so far is saved."""


class Stopped(Exception):
    """The stage was asked to stop, and everything needed to go on is saved."""


@dataclass(frozen=True)
class Stage:
    """One stage of one run, as its document says it."""

    stage: str
    run: str
    fingerprint: str
    image: str
    lock: str
    config: dict[str, Any]
    """The part of the run's config that decides the result."""
    settings: dict[str, Any]
    """What decides only how the result is come by: micro-batch size, concurrency, time-outs."""
    inputs: dict[str, Any]
    output: str
    """The URI of the directory that the artifacts go to."""

    @staticmethod
    def load(path: Path) -> "Stage":
        return Stage(**json.loads(path.read_text()))

    @property
    def work_dir(self) -> Path:
        """Where the stage writes: the output itself if it is local, else a directory under $RETORT_WORK."""
        if not storage.is_remote(self.output):
            return Path(self.output)
        return Path(os.environ["RETORT_WORK"]) / f"{self.stage}-{self.fingerprint[:12]}"


class Work(Protocol):
    """A stage's own work: a module."""

    RESUMABLE: tuple[str, ...]
    """Directories of the output that are only there to go on from: no manifest promises them."""

    def main(self, stage: Stage, work: Path, /) -> dict[str, Any] | None:
        """Writes into a directory → the stage's metrics, or None where another worker ends the stage."""
        ...


Load = Callable[[Stage], Work]
"""Imports a stage's work, which can take a minute from a cold disk: after the stage has spoken, and only if it must."""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_stage(load: Load) -> NoReturn:
    """Runs a stage's own work, keeps its results, and ends the process.

    Exit codes: 0 done, 2 the user's mistake (a UserError: its message, no trace), 143 stopped and saved, 1 the rest.
    """
    stage = Stage.load(Path(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOPPING.set())
    with log.kept(stage.work_dir / f"{stage.stage}.log", stage.output):
        code = exit_code_of(stage, load)
    leave(code)


def leave(code: int) -> NoReturn:
    """Ends the process at once: all is written, and PyTorch would clear up for a second that the next stage waits."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_code_of(stage: Stage, load: Load) -> int:
    """`run_stage` within this process: returns the exit code."""
    try:
        if manifest.read_valid(stage.output, stage.fingerprint):
            events.emit("skipped", stage.stage, message="a valid manifest is there: nothing to do")
            return 0
        _run(stage, load)
        return 0
    except Stopped:
        events.emit("stopped", stage.stage, message="stopped; saved; the same command goes on from here")
        return STOPPED
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        events.emit("failed", stage.stage, message=str(error), exitCode=USER_MISTAKE)
        return USER_MISTAKE
    except Damaged as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        events.emit("failed", stage.stage, message=str(error), exitCode=1)
        return 1
    except Exception as error:
        traceback.print_exc()
        events.emit("failed", stage.stage, message=f"{type(error).__name__}: {error}", exitCode=1)
        return 1


def _run(stage: Stage, load: Load) -> None:
    started = now()
    events.progress(stage.stage, "load", 0, 1, "packages")
    work = load(stage)
    work_dir = stage.work_dir
    work_dir.mkdir(parents=True, exist_ok=True)
    metrics = work.main(stage, work_dir)
    if metrics is None:
        return
    record = {
        "stage": stage.stage,
        "run": stage.run,
        "fingerprint": stage.fingerprint,
        "config": stage.config,
        "settings": stage.settings,
        "inputs": stage.inputs,
        "outputs": manifest.outputs_of(work_dir, work.RESUMABLE),
        "image": stage.image,
        "lock": stage.lock or _own_lock(),
        "machine": machine.described(),
        "startedAt": started,
        "finishedAt": now(),
        "metrics": metrics,
    }
    for output in record["outputs"] if storage.is_remote(stage.output) else []:
        storage.publish(work_dir / output["path"], storage.join(stage.output, output["path"]))
    storage.write_bytes(storage.join(stage.output, manifest.NAME), json.dumps(record, indent=2).encode())
    events.done(stage.stage, metrics)


def _own_lock() -> str:
    """sha256 of the lock that this image was made from, where only the image itself knows it."""
    path = os.environ.get("RETORT_LOCK")
    return manifest.sha256_of(Path(path)) if path else ""
