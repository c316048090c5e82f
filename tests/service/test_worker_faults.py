"""A worker that dies, and callers who leave: nobody else notices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes.waiting import wait_until
from service.wire import (
    ask,
    chat,
    client,
    data,
    ended,
    endless,
    long_prompt,
    post,
    send,
    status,
    streaming,
    text_of,
    until_idle,
    until_text,
    workers,
)
from serving import LLM, Server

CALLERS = 200
LONG_PROMPT = 6_000
"""Tokens: the demo model reads 8,192."""


def test_a_worker_killed_in_mid_stream(chat_server: Server) -> None:
    (worker,) = workers(chat_server)
    with streaming(chat_server, endless()) as lines:
        until_text(lines)
        worker.kill()
        events = list(data(lines))
    error = events[-1]["error"]
    assert error["code"] == "worker_died"
    assert error["type"] == "server_error"
    assert "Send the request again" in error["message"]
    assert ask(chat_server)["usage"]["completion_tokens"] > 0
    (successor,) = workers(chat_server)
    assert successor.pid != worker.pid


@pytest.mark.slow
def test_a_worker_killed_before_a_whole_answer(chat_server: Server) -> None:
    (worker,) = workers(chat_server)
    body = endless() | {"stream": False}
    with ThreadPoolExecutor() as pool:
        reply = pool.submit(post, chat_server, "/v1/chat/completions", **body)
        wait_until(lambda: status(chat_server)[LLM]["tokens_generated"] > 8)
        worker.kill()
    assert reply.result().status_code == 503
    assert reply.result().json()["error"]["code"] == "worker_died"
    ask(chat_server)


def test_a_worker_killed_while_it_loads(chat_server: Server) -> None:
    post(chat_server, "/v1/models/unload", name=LLM)
    with ThreadPoolExecutor() as pool:
        reply = pool.submit(post, chat_server, "/v1/chat/completions", **chat())
        wait_until(lambda: workers(chat_server) or reply.done())
        (worker,) = workers(chat_server)
        worker.kill()
    error = reply.result().json()["error"]
    assert reply.result().status_code == 503
    assert error["code"] == "model_load_failed"
    assert LLM in error["message"]
    assert ended([worker])
    model = client(chat_server).get(f"/v1/models/{LLM}").json()
    assert model["npu"]["status"] == "failed"
    ask(chat_server)


def test_a_client_gone_in_mid_stream(chat_server: Server) -> None:
    with streaming(chat_server, endless()) as lines:
        until_text(lines)
        assert status(chat_server)[LLM]["requests_running"] == 1
    until_idle(chat_server)
    made = status(chat_server)[LLM]["tokens_generated"]
    ask(chat_server)
    assert status(chat_server)[LLM]["tokens_generated"] - made < 100, "it went on generating"


def test_a_client_gone_in_prefill(chat_server: Server) -> None:
    """The worker's own processor time tells whether it dropped the prompt."""
    (worker,) = workers(chat_server)

    def cpu_s() -> float:
        times = worker.cpu_times()
        return float(times.user + times.system)

    start_s = cpu_s()
    hang_up = send(chat_server, chat(messages=long_prompt(LONG_PROMPT, "apples"), stream=True))
    wait_until(lambda: status(chat_server)[LLM]["requests_running"])
    hang_up()
    until_idle(chat_server)
    ask(chat_server)
    dropped_s = cpu_s() - start_s
    shorter = ask(chat_server, messages=long_prompt(LONG_PROMPT // 3, "oranges"), max_tokens=1)
    assert shorter["usage"]["prompt_tokens"] > LONG_PROMPT // 3
    assert dropped_s < cpu_s() - start_s - dropped_s


def _answer(server: Server, number: int) -> tuple[int, int]:
    """Give how many tokens were asked for and how many came."""
    wanted = 1 + number % 7
    if number % 2:
        body = chat(stream=True, max_tokens=wanted, ignore_eos=True)
        with streaming(server, body | {"stream_options": {"include_usage": True}}) as lines:
            events = list(data(lines))
        return wanted, events[-1]["usage"]["completion_tokens"]
    answer = ask(server, max_tokens=wanted, ignore_eos=True)
    return wanted, answer["usage"]["completion_tokens"]


@pytest.mark.slow
def test_two_hundred_callers_at_once(chat_server: Server) -> None:
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(lambda i: _answer(chat_server, i), range(CALLERS)))
    assert len(answers) == CALLERS
    assert all(wanted == came for wanted, came in answers)
    until_idle(chat_server)


def test_answers_at_once_are_those_that_each_gets_alone(chat_server: Server) -> None:
    # Few enough to be read in one step: a prompt that is cut reads its first part from the
    # compressed cache, and near ties may fall the other way.
    questions = [f"Say the number {number} in words." for number in range(4)]

    def say(question: str) -> str:
        messages = [{"role": "user", "content": question}]
        with streaming(chat_server, chat(stream=True, messages=messages)) as lines:
            return text_of(data(lines))

    alone = [say(question) for question in questions]
    with ThreadPoolExecutor(len(questions)) as pool:
        assert list(pool.map(say, questions)) == alone
