"""The line before a model, over HTTP: whose turn it is, who is turned away, how long one waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from fakes.waiting import wait_until
from service.conftest import Service
from service.wire import (
    chat,
    client,
    data,
    endless,
    post,
    status,
    streaming,
    text_of,
    until_text,
)
from serving import LLM, Server


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def complete(server: Server, prompt: str = "count", key: str = "", **fields: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"model": LLM, "prompt": prompt, "max_tokens": 4} | fields
    return client(server).post("/v1/completions", json=body, headers=headers)


def waiting(server: Server) -> int:
    model = status(server).get(LLM)
    return int(model["requests_waiting"]) if model else 0


def test_callers_take_turns_however_much_one_of_them_sends(
    fake_service: Service, callers: ThreadPoolExecutor
) -> None:
    server = fake_service("--Launcher.max_running=1")
    ada, bob = server.key("chat"), server.key("chat")
    replies: list[Future[httpx.Response]] = []
    with streaming(server, endless()) as lines:
        until_text(lines)
        for key in (ada, ada, ada, bob):
            replies.append(callers.submit(complete, server, "report", key))
            wait_until(lambda: waiting(server) == len(replies))
    answers = [json.loads(reply.result().json()["choices"][0]["text"]) for reply in replies]
    ada_1, ada_2, ada_3, bob_1 = (answer["request"] for answer in answers)
    assert ada_1 < bob_1 < ada_2 < ada_3


def test_a_caller_over_his_share_gets_429_and_others_do_not(
    fake_service: Service, callers: ThreadPoolExecutor
) -> None:
    server = fake_service("--Launcher.max_running=1", "--ModelPool.max_waiting_per_caller=1")
    ada, bob = server.key("chat"), server.key("chat")
    with streaming(server, endless()) as lines:
        until_text(lines)
        waits = callers.submit(complete, server, "count", ada)
        wait_until(lambda: waiting(server) == 1)
        refused = complete(server, "count", ada)
        other = callers.submit(complete, server, "count", bob)
        wait_until(lambda: waiting(server) == 2)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    assert "x-should-retry" not in refused.headers
    assert waits.result().status_code == other.result().status_code == 200


def test_a_full_line_gives_503(fake_service: Service, callers: ThreadPoolExecutor) -> None:
    server = fake_service("--Launcher.max_running=1", "--ModelPool.max_waiting=1")
    with streaming(server, endless()) as lines:
        until_text(lines)
        waits = callers.submit(complete, server)
        wait_until(lambda: waiting(server) == 1)
        refused = complete(server, key=server.key("chat"))
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "engine_busy"
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    assert waits.result().status_code == 200


@pytest.mark.slow
def test_the_place_in_line_is_told_in_comments(fake_service: Service) -> None:
    server = fake_service("--Launcher.max_running=1")
    with ExitStack() as streams:
        running = streams.enter_context(streaming(server, endless()))
        until_text(running)
        first = streams.enter_context(ExitStack())
        in_line = first.enter_context(streaming(server, endless()))
        assert next(in_line) == ": queued 1/1"
        with streaming(server, chat(stream=True)) as lines:
            assert next(lines) == ": queued 2/2"
            first.close()
            assert next(line for line in lines if "2" not in line) == ": queued 1/1"
            streams.close()
            assert list(data(lines))[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.slow
def test_a_load_is_told_in_comments(fake_service: Service) -> None:
    server = fake_service(load_s=4)
    with streaming(server, chat(stream=True)) as lines:
        assert next(lines).startswith(": loading compile")
        assert list(data(lines))[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.slow
def test_a_request_may_not_take_longer_than_the_server_allows(fake_service: Service) -> None:
    server = fake_service("--Engine.request_timeout_s=2")
    with streaming(server, endless()) as lines:
        *events, last = data(lines)
    assert text_of(events).startswith("0 1 2 ")
    assert last["error"]["code"] == "deadline_exceeded"
    reply = post(server, "/v1/chat/completions", **(endless() | {"stream": False}))
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "deadline_exceeded"
    assert complete(server).status_code == 200
