"""The OpenAI-compatible server of one model: started from the config's command, always stopped, children and all."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from retort.errors import UserError
from retort.stage import STOPPING, Stopped
from retort_evaluate import keeper

LAST_WORDS_LINES = 20
CAUSE_LINES = 3  # some errors say what they are about on the lines after their name
# The first error of a server of several processes; vLLM's last words are only that its engine failed. With or without
# what it puts before a line: "(EngineCore pid=7) ERROR 11-24 07:20:31 [core.py:1100] ModuleNotFoundError: …".
CAUSE = re.compile(r"(\(\w[^)]*\) )?(ERROR [\d-]+ [\d:]+ \[[^\]]*\] )?([A-Za-z_]\w*\.)*[A-Z]\w*(Error|Exception)\b")
POLL_SECONDS = 0.5


class ServerError(RuntimeError):
    """The server ended, or never answered. The message quotes the last it wrote."""


class Server:
    """A running server. `model` is the name that requests must give: the path the server was started with."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, model: str, log: Path, log_start: int) -> None:
        self.process, self.model, self.log, self._log_start = process, model, log, log_start
        self.url = f"http://127.0.0.1:{port}"

    def check(self) -> None:
        """Raises ServerError if the server has ended."""
        code = self.process.poll()
        if code is not None:
            raise ServerError(f"the server ended with exit code {code}{self.last_words()}")

    def last_words(self) -> str:
        """The end of what this server wrote, and its first error if that was said before; to be put after a message."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
        lines = [line for line in lines if line.strip()]
        if not lines:
            return f"; it wrote nothing ({self.log})"
        said = lines[-LAST_WORDS_LINES:]
        cause = next((number for number, line in enumerate(lines) if CAUSE.match(line)), len(lines))
        if cause < len(lines) - LAST_WORDS_LINES:
            said += ["its first error, further up:", *lines[cause : cause + CAUSE_LINES]]
        return f"; its last words, from {self.log}:\n" + "\n".join(f"  {line}" for line in said)


@contextmanager
def serve(command: list[str], model: Path, log: Path, start_timeout_minutes: float) -> Iterator[Server]:
    """Starts `command`, with {model} and {port} filled in, and yields the server once it answers; then stops it.

    What the server writes is appended to `log`. Raises ServerError if it ends or does not answer in time, UserError
    if there is no such command, Stopped if the stage is asked to stop while it starts.
    """
    port = _free_port()
    environment = _environment()
    filled = [part.replace("{model}", str(model)).replace("{port}", str(port)) for part in command]
    if shutil.which(filled[0], path=environment["PATH"]) is None:
        raise UserError(f"evaluate.server.command: there is no {filled[0]!r} in this stage's environment")
    with log.open("ab") as file:
        log_start = file.seek(0, os.SEEK_END)
        file.write(f"$ {' '.join(filled)}\n".encode())
        file.flush()
        process = subprocess.Popen(
            [sys.executable, keeper.__file__, *filled],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        server = Server(process, port, str(model), log, log_start)
        _wait_until_it_answers(server, start_timeout_minutes)
        yield server
    finally:
        _stop(process)


def _wait_until_it_answers(server: Server, start_timeout_minutes: float) -> None:
    deadline = time.monotonic() + start_timeout_minutes * 60
    with httpx.Client(trust_env=False, timeout=5) as http:
        while not _healthy(http, server.url):
            server.check()
            if STOPPING.is_set():
                raise Stopped
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the server did not answer within {start_timeout_minutes:g} minutes "
                    f"(evaluate.server.startTimeoutMinutes){server.last_words()}"
                )
            time.sleep(POLL_SECONDS)


def _healthy(http: httpx.Client, url: str) -> bool:
    """Both servers listen, or call themselves healthy, only once the model is loaded."""
    try:
        return http.get(f"{url}/health").status_code < 500
    except httpx.TransportError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Returns once no process of the server is left: the next server needs its memory."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=keeper.GRACE_SECONDS + 20)


def _environment() -> dict[str, str]:
    """As the stage's own, with the programs beside its Python. The weights are local: no hub is asked for them."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_NO_USAGE_STATS": "1"}
    return {**os.environ, **offline, "PATH": path}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
