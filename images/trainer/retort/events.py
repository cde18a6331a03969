"""What a stage tells the program that started it: one JSON line an event on stdout.

A launcher draws the lines that are JSON objects with an "event" key; everything else a stage prints is for people.
"""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any


def emit(event: str, stage: str, **fields: Any) -> None:
    """Prints one event. Fields that are None are left out."""
    line = {"event": event, "stage": stage} | {k: v for k, v in fields.items() if v is not None}
    print(json.dumps(line, ensure_ascii=False, allow_nan=False), flush=True)


def progress(stage: str, phase: str, step: int, of: int, unit: str, **fields: Any) -> None:
    """How far a phase is: `step` of `of` `unit`s, with `loss`, `tokensPerSecond`, `secondsLeft` where known."""
    emit("progress", stage, phase=phase, step=step, of=of, unit=unit, **fields)


def warning(stage: str, message: str) -> None:
    """Something the user should know of that does not stop the stage."""
    print(f"warning: {message}", file=sys.stderr, flush=True)
    emit("warning", stage, message=message)


def done(stage: str, metrics: Mapping[str, Any]) -> None:
    emit("done", stage, metrics=dict(metrics))


class Pace:
    """Seconds left, from the time the steps so far took. Starts when it is made."""

    def __init__(self, of: int, step: int = 0) -> None:
        self.of, self.first, self.start = of, step, time.monotonic()

    def seconds_left(self, step: int) -> int | None:
        """None until a first step is done."""
        if step <= self.first:
            return None
        return round((time.monotonic() - self.start) / (step - self.first) * (self.of - step))
