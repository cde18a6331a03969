"""What a real server over a real socket can do to a question: fail, reset, fall silent, refuse, cheat, die."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeRun
from finished_run import FinishedRun

from retort.stage import STOPPING, Stopped
from retort_evaluate import client
from retort_evaluate.answers import Reply
from retort_evaluate.client import Asking, Question, ask
from retort_evaluate.server import ServerError, serve

Ask = Callable[..., dict[str, Reply]]


@pytest.fixture
def ask_base(make_run: MakeRun) -> Ask:
    """Asks the base model's server, with these faults, `count` questions; replies by id."""

    def run(count: int = 6, asking: dict[str, Any] | None = None, into: dict[str, Reply] | None = None, **faults: Any):
        finished = make_run(count)
        finished.set_role("base", **faults)
        run.finished = finished  # type: ignore[attr-defined]
        replies: dict[str, Reply] = {} if into is None else into
        how = Asking(**({"max_new_tokens": 64, "temperature": 0, "concurrency": 3} | (asking or {})))
        questions = [
            Question(str(i), r["instruction"], len(f"Q: {r['instruction']}\nA: "))
            for i, r in enumerate(finished.rows, 1)
        ]
        command = finished.document()["config"]["evaluate"]["server"]["command"]
        with serve(command, finished.base_model, finished.directory / "server.log", 2) as server:
            ask(server, questions, how, lambda question, reply: replies.update({question.id: reply}))
        return replies

    return run


def finished(ask_base: Ask) -> FinishedRun:
    return ask_base.finished  # type: ignore[attr-defined]


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_SECONDS", 0.01)


def test_every_question_is_asked_once_greedily_and_with_the_limit(ask_base: Ask) -> None:
    replies = ask_base(8)
    assert sorted(replies) == [str(i) for i in range(1, 9)]
    assert {r.text for r in replies.values()} == {"Sure! Here are your chairs."}
    requests = finished(ask_base).questions()
    assert len(requests) == 8
    for request in requests:
        assert request["temperature"] == 0
        assert request["max_tokens"] == 64
        assert request["messages"] == [{"role": "user", "content": request["question"]}]


@pytest.mark.usefixtures("fast_retries")
def test_what_the_network_and_a_busy_server_lost_is_asked_again(ask_base: Ask) -> None:
    replies = ask_base(6, faults=[500, "reset", 429, 503, "reset"])
    assert len(replies) == 6
    requests = finished(ask_base).questions()
    assert [r["fault"] for r in requests[:5]] == [500, "reset", 429, 503, "reset"]
    assert len(requests) == 6 + 5


@pytest.mark.usefixtures("fast_retries")
def test_a_silent_server_is_asked_again(ask_base: Ask) -> None:
    assert len(ask_base(2, asking={"reply_minutes": 0.01}, faults=["silent"])) == 2
    assert len(finished(ask_base).questions()) == 3


@pytest.mark.usefixtures("fast_retries")
def test_retries_are_bounded_and_the_last_failure_is_named(ask_base: Ask) -> None:
    with pytest.raises(RuntimeError, match=r"test row \d: no answer in 6 attempts: status 500: .*told to fail"):
        ask_base(1, faults=[500] * 100)
    assert len(finished(ask_base).questions()) == client.ATTEMPTS


def test_pauses_grow(ask_base: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_SECONDS", 0.2)
    started = time.monotonic()
    assert len(ask_base(1, faults=[500, 500, 500])) == 1
    assert time.monotonic() - started > 0.5 * (0.2 + 0.4 + 0.8)


def test_a_refused_question_is_the_users_to_mend_and_not_asked_again(ask_base: Ask) -> None:
    with pytest.raises(
        ValueError, match=r"test row 1: the server refuses the question with status 400: .*told to fail"
    ):
        ask_base(1, faults=[400])
    assert len(finished(ask_base).questions()) == 1


def test_a_server_that_dies_is_quoted_and_what_it_answered_is_kept(ask_base: Ask) -> None:
    kept: dict[str, Reply] = {}
    with pytest.raises(ServerError, match=r"(?s)ended with exit code 7; its last words.*illegal memory access"):
        ask_base(40, diesAfter=5, seconds=0.05, into=kept)
    assert 1 <= len(kept) <= 5 + 2  # the two others that were open may have got out before it died


@pytest.mark.parametrize(("extra", "cause"), [(1, "a start token written twice"), (-2, "another chat template")])
def test_another_prompt_than_in_training_is_an_error_that_says_so(ask_base: Ask, extra: int, cause: str) -> None:
    kept: dict[str, Reply] = {}
    with pytest.raises(
        ValueError, match=f"the server made a prompt of .* tokens where training makes one of .*{cause}"
    ):
        ask_base(4, extraPromptTokens=extra, into=kept)
    assert kept == {}


def test_no_more_than_concurrency_questions_are_open_at_once(ask_base: Ask) -> None:
    started = time.monotonic()
    ask_base(6, asking={"concurrency": 2}, seconds=0.3)
    assert time.monotonic() - started >= 3 * 0.3
    assert Counter(r["question"] for r in finished(ask_base).questions()).most_common(1)[0][1] == 1


def test_being_stopped_takes_seconds_even_if_answers_take_minutes(ask_base: Ask) -> None:
    timer = threading.Timer(3.0, STOPPING.set)
    started = time.monotonic()
    timer.start()
    try:
        with pytest.raises(Stopped):
            ask_base(4, seconds=50)
    finally:
        STOPPING.clear()
    assert time.monotonic() - started < 15


def test_the_role_server_counts_as_the_tokenizer_does(make_run: MakeRun) -> None:
    """The tests above mean something only if the role server and the real tokenizer agree by themselves."""
    from retort import model
    from retort.chat import prompt_ids

    tokenizer = model.load_tokenizer(Path(make_run().base_model))
    for text in ("Order 3 chairs.", "zwölf Stühle ✓"):
        assert len(prompt_ids(tokenizer, text)) == len(f"Q: {text}\nA: ".encode())
