"""Servers start, are waited for, and leave no process behind, however they or the evaluator end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from finished_run import ROLE_SERVER, ROOT, gone

from retort.stage import STOPPING, Stopped
from retort_evaluate import keeper
from retort_evaluate.server import Server, ServerError, serve

COMMAND = [sys.executable, str(ROLE_SERVER), "{model}", "--port", "{port}"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    set_role(directory)
    return directory


def set_role(model: Path, **role: object) -> None:
    files = {"questions": str(model / "questions"), "pids": str(model / "pids")}
    (model / "role.json").write_text(json.dumps({"answers": {}} | files | role))


def pids(model: Path) -> list[int]:
    return [int(pid) for pid in (model / "pids").read_text().split()]


def log(model: Path) -> Path:
    return model.parent / "server.log"


@pytest.mark.parametrize("child_leaves_group", [False, True])
def test_a_server_answers_and_ends_with_its_children(model: Path, child_leaves_group: bool) -> None:
    set_role(model, childLeavesGroup=child_leaves_group)
    with serve(COMMAND, model, log(model), 2) as server:
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
        assert server.model == str(model)
        server.check()
        assert not gone(pids(model), within_seconds=0.1)
    assert gone(pids(model), within_seconds=0.1)


def test_an_exception_ends_the_server_too(model: Path) -> None:
    with pytest.raises(KeyError), serve(COMMAND, model, log(model), 2):
        raise KeyError
    assert gone(pids(model), within_seconds=0.1)


@pytest.mark.parametrize("child_leaves_group", [False, True])
def test_a_killed_evaluator_leaves_no_server_behind(model: Path, child_leaves_group: bool) -> None:
    set_role(model, childLeavesGroup=child_leaves_group)
    script = (
        "import sys, time; from pathlib import Path; from retort_evaluate.server import serve\n"
        f"with serve({COMMAND!r}, Path({str(model)!r}), Path({str(log(model))!r}), 1):\n"
        "    print('up', flush=True); time.sleep(60)"
    )
    paths = f"{ROOT}/images/trainer{os.pathsep}{ROOT}/images/evaluator"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert not gone(pids(model), within_seconds=0.1)
    process.kill()
    process.wait()
    assert gone(pids(model))


def test_a_server_deaf_to_sigterm_is_killed(tmp_path: Path) -> None:
    script = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"from retort_evaluate import keeper; keeper.GRACE_SECONDS = 0.5\n"
         f"raise SystemExit(keeper.main([{sys.executable!r}, '-c', {script!r}]))"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(keeper.__file__).parents[1])},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "deaf\n"
    process.send_signal(signal.SIGINT)  # Ctrl-C goes to the whole terminal: the keeper leaves it to the evaluator
    time.sleep(0.2)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=10) == 128 + signal.SIGKILL


def test_a_server_that_dies_at_once_is_quoted(model: Path) -> None:
    set_role(model, diesAtStart="ValueError: max seq len (131072) is larger than the KV cache")
    started = time.monotonic()
    with pytest.raises(ServerError) as raised, serve(COMMAND, model, log(model), 5):
        pytest.fail("it answered")
    assert time.monotonic() - started < 20
    assert "the server ended with exit code 3; its last words" in str(raised.value)
    assert "max seq len (131072)" in str(raised.value)
    assert str(log(model)) in str(raised.value)


def test_the_first_error_is_quoted_last_however_far_up_it_is(model: Path) -> None:
    engine = "(EngineCore pid=7) ERROR 11-24 07:20:31 [core.py:1100] "
    trace = "\n".join(f"(APIServer pid=5)   File line {n}" for n in range(80))
    harmless = "WARNING 11-24 07:20:30 [utils.py:7] cannot raise the limit: OSError: [Errno 24]"
    root, last = (
        f"{engine}ModuleNotFoundError: No module named 'flashinfer'",
        "RuntimeError: Engine core initialization failed.",
    )
    set_role(model, diesAtStart="\n".join([harmless, f"{engine}Traceback", root, f"{engine}and more", trace, last]))
    with pytest.raises(ServerError) as raised, serve(COMMAND, model, log(model), 5):
        pytest.fail("it answered")
    said = str(raised.value).splitlines()
    assert "Engine core initialization failed" in said[-5]
    assert said[-4] == "  its first error, further up:"
    assert said[-3] == f"  {root}"
    assert len(said) < 30


def test_only_the_words_of_this_start_are_quoted(model: Path) -> None:
    log(model).write_text("words of an earlier attempt\n")
    set_role(model, diesAtStart="out of memory")
    with pytest.raises(ServerError) as raised, serve(COMMAND, model, log(model), 5):
        pytest.fail("it answered")
    assert "earlier attempt" not in str(raised.value)
    assert "earlier attempt" in log(model).read_text()


def test_a_server_that_never_answers_is_given_up_and_ended(model: Path) -> None:
    set_role(model, startSeconds=60)
    with (
        pytest.raises(ServerError, match=r"did not answer within 0\.03 minutes .*startTimeoutMinutes"),
        serve(COMMAND, model, log(model), 0.03),
    ):
        pytest.fail("it answered")
    assert gone(pids(model), within_seconds=0.1)


def test_being_stopped_while_the_server_starts_ends_it(model: Path) -> None:
    set_role(model, startSeconds=60)
    threading.Timer(1.0, STOPPING.set).start()
    try:
        with pytest.raises(Stopped), serve(COMMAND, model, log(model), 5):
            pytest.fail("it answered")
    finally:
        STOPPING.clear()
    assert gone(pids(model), within_seconds=0.1)


def test_a_command_that_is_not_there_is_the_users_mistake(model: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"evaluate\.server\.command: there is no 'vlllm'"),
        serve(["vlllm", "serve", "{model}"], model, log(model), 1),
    ):
        pytest.fail("it answered")


def test_programs_beside_the_stages_python_are_found_and_the_hub_is_off(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    said = 'import os; print("hub", os.environ["HF_HUB_OFFLINE"]); raise SystemExit(9)'
    command = [Path(sys.executable).name, "-c", said]
    with pytest.raises(ServerError, match="exit code 9"), serve(command, model, log(model), 1):
        pytest.fail("it answered")
    assert "hub 1" in log(model).read_text()


def test_two_servers_get_two_ports(model: Path) -> None:
    with serve(COMMAND, model, log(model), 2) as one, serve(COMMAND, model, log(model), 2) as other:
        assert one.url != other.url
        for server in (one, other):
            host, port = server.url.removeprefix("http://").split(":")
            socket.create_connection((host, int(port)), timeout=5).close()


def test_a_dead_server_is_noticed(model: Path) -> None:
    with serve(COMMAND, model, log(model), 2) as server:
        assert isinstance(server, Server)
        os.kill(pids(model)[0], signal.SIGKILL)
        assert gone(pids(model))
        server.process.wait(timeout=5)
        with pytest.raises(ServerError, match="exit code 137"):
            server.check()
