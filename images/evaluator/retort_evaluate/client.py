"""Asks a server many questions at once, and each of them until it is answered."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from retort.errors import UserError
from retort.stage import STOPPING, Stopped
from retort_evaluate.answers import Reply
from retort_evaluate.server import Server

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.5
"""Doubled after every failed attempt: ~15 s until the last."""
REPLY_MINUTES = 30
"""A long answer of a busy server on a CPU takes minutes; one that takes longer than this is lost."""
WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Question:
    """One test row as it is asked. `prompt_tokens` is the length of its prompt as training makes it."""

    id: str
    instruction: str
    prompt_tokens: int


@dataclass(frozen=True)
class Asking:
    """How every question of an evaluation is asked."""

    max_new_tokens: int
    temperature: float
    concurrency: int
    reply_minutes: float = REPLY_MINUTES


class Lost(Exception):
    """This attempt's reply was lost on the way, or the server was too busy or broken to give one: worth another."""


def ask(
    server: Server, questions: Iterable[Question], asking: Asking, on_reply: Callable[[Question, Reply], None]
) -> None:
    """Asks all `questions`, at most `asking.concurrency` at a time, and calls `on_reply` as each is answered.

    Raises ServerError if the server ends, Stopped if the stage is to stop, UserError if the server refuses a question
    or makes another prompt of it than training does, RuntimeError if a question is lost `ATTEMPTS` times in a row.
    """
    asyncio.run(_ask(server, iter(questions), asking, on_reply))


async def _ask(
    server: Server, questions: Iterator[Question], asking: Asking, on_reply: Callable[[Question, Reply], None]
) -> None:
    limits = httpx.Limits(max_connections=asking.concurrency)
    timeout = httpx.Timeout(asking.reply_minutes * 60, connect=10)
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, limits=limits, timeout=timeout) as http:

        async def work() -> None:
            for question in questions:  # shared: each worker takes the next
                on_reply(question, await _answer(http, server, question, asking))

        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(_watch(server))
                for worker in [tasks.create_task(work()) for _ in range(asking.concurrency)]:
                    await worker
                watch.cancel()
            return
        except ExceptionGroup as group:  # the first ended the others
            first = group.exceptions[0]
    raise first


async def _watch(server: Server) -> None:
    while True:
        if STOPPING.is_set():
            raise Stopped
        server.check()
        await asyncio.sleep(WATCH_SECONDS)


async def _answer(http: httpx.AsyncClient, server: Server, question: Question, asking: Asking) -> Reply:
    body = {
        "model": server.model,
        "messages": [{"role": "user", "content": question.instruction}],
        "max_tokens": asking.max_new_tokens,
        "temperature": asking.temperature,
    }
    for attempt in range(ATTEMPTS):
        try:
            reply = _reply(await _post(http, body, question))
            _same_prompt(question, reply)
            return reply
        except Lost as lost:
            if attempt == ATTEMPTS - 1:
                server.check()
                raise RuntimeError(
                    f"test row {question.id}: no answer in {ATTEMPTS} attempts: {lost}{server.last_words()}"
                ) from lost
            # Not all at the same moment again.
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1))
    raise AssertionError("the last attempt returns or raises")


async def _post(http: httpx.AsyncClient, body: dict[str, Any], question: Question) -> httpx.Response:
    try:
        response = await http.post("/v1/chat/completions", json=body)
    except httpx.TransportError as error:
        raise Lost(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
    if response.status_code == 429 or response.status_code >= 500:
        raise Lost(f"status {response.status_code}: {response.text[:300]}")
    if response.status_code >= 400:
        raise UserError(
            f"test row {question.id}: the server refuses the question with status {response.status_code}: "
            f"{response.text[:1000]}"
        )
    return response


def _reply(response: httpx.Response) -> Reply:
    try:
        body = response.json()
        choice, usage = body["choices"][0], body["usage"]
        return Reply(
            text=choice["message"]["content"] or "",
            finish_reason=choice["finish_reason"],
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RuntimeError(f"this is no reply of an OpenAI-compatible server: {response.text[:1000]}") from error


def _same_prompt(question: Question, reply: Reply) -> None:
    """Another prompt than in training costs a model points that it never lost: then there is nothing to measure."""
    served, trained = reply.prompt_tokens, question.prompt_tokens
    if served == trained:
        return
    cause = (
        "a start token written twice, perhaps, or another chat template"
        if served > trained
        else "another chat template"
    )
    raise UserError(
        f"test row {question.id}: the server made a prompt of {served} tokens where training makes one of {trained}: "
        f"{cause}. Let the server use the model's own template and add nothing to it (evaluate.server.command)"
    )
