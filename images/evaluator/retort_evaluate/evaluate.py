"""The evaluate stage: base model, then merged model, the same questions to both; graded, compared, reported."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retort import events, storage
from retort.stage import Stage, now
from retort_evaluate import answers, earlier, inputs, page, report
from retort_evaluate.answers import MODELS, AnswerFile, ModelName, Reply, graded
from retort_evaluate.client import Asking, Question, ask
from retort_evaluate.inputs import Inputs
from retort_evaluate.server import serve

RESUMABLE: tuple[str, ...] = ("inputs",)
SAVE_SECONDS = 60
"""How many seconds of answers a lost pod costs."""
PROGRESS_SECONDS = 1


def main(stage: Stage, work: Path) -> dict[str, Any]:
    started = now()
    given = inputs.read(stage, work / "inputs")
    path = work / answers.FILE
    answers.bring_back(stage.output, path)
    with AnswerFile(path) as file:
        before = earlier.find(stage, [question.id for question in given.questions])
        lender = before.name if before and before.lend(file) else None
        for name in MODELS:
            _answer_all(stage, work, given, name, file)
    file.sort(given.rows)
    found = report.build(stage, given, file, started, lender)
    for message in found["warnings"]:
        events.warning(stage.stage, message)
    storage.write_bytes(str(work / "report.json"), json.dumps(found, indent=1, ensure_ascii=False).encode())
    html = page.render(stage, found, given, file)
    storage.write_bytes(str(work / "report.html"), html.encode("utf-8", "replace"))
    return report.metrics(found)


def _answer_all(stage: Stage, work: Path, given: Inputs, name: ModelName, file: AnswerFile) -> None:
    """Asks one model what it has not answered yet."""
    missing = [question for question in given.questions if question.id not in file.of(name)]
    if not missing:
        return
    config, settings = stage.config["evaluate"], stage.settings
    rows = {answers.row_id(row): row for row in given.rows}
    asking = Asking(config["maxNewTokens"], config["temperature"], settings["concurrency"])
    events.progress(stage.stage, "load", 0, 1, f"server of the {name} model")
    log = work / f"server-{name}.log"
    with (
        serve(config["server"]["command"], given.models[name], log, settings["startTimeoutMinutes"]) as server,
        _saved_from_time_to_time(file.path, stage.output),
    ):
        meter = Meter(stage.stage, name, done=len(file.of(name)), of=len(given.questions))

        def keep(question: Question, reply: Reply) -> None:
            file.add(graded(name, rows[question.id], reply, meter.lap()))
            meter.count(reply.completion_tokens)

        ask(server, missing, asking, keep)


class Meter:
    """Progress of one model's answers, said at most once a second."""

    def __init__(self, stage: str, phase: str, *, done: int, of: int) -> None:
        self.stage, self.phase, self.done, self.of = stage, phase, done, of
        self.pace = events.Pace(of, done)
        self.tokens = 0
        self.start = self.last_lap = time.monotonic()
        self.said = -PROGRESS_SECONDS

    def lap(self) -> float:
        """Seconds since the lap before."""
        before, self.last_lap = self.last_lap, time.monotonic()
        return self.last_lap - before

    def count(self, completion_tokens: int) -> None:
        self.done += 1
        self.tokens += completion_tokens
        now = time.monotonic()
        if now - self.said < PROGRESS_SECONDS and self.done < self.of:
            return
        self.said = now
        events.progress(
            self.stage,
            self.phase,
            self.done,
            self.of,
            "answers",
            tokensPerSecond=round(self.tokens / max(now - self.start, 1e-9), 1),
            secondsLeft=self.pace.seconds_left(self.done),
        )


@contextmanager
def _saved_from_time_to_time(path: Path, output: str) -> Iterator[None]:
    """Copies the answers to a remote output every minute, and once more at the end, however that comes."""
    if not storage.is_remote(output):
        yield
        return
    ended = threading.Event()

    def save_every_minute() -> None:
        while not ended.wait(SAVE_SECONDS):
            try:
                answers.save(path, output)
            except storage.STORE_ERRORS as error:  # the next minute may do better; the last save must
                events.warning("evaluate", f"the answers so far could not be saved: {error}")

    thread = threading.Thread(target=save_every_minute, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        answers.save(path, output)
