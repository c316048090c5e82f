"""The path of the NPU, one request at a time, run on the CPU by configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest
from fakes.waiting import wait_until
from service.conftest import COMMAND
from service.wire import (
    ask,
    chat,
    data,
    endless,
    long_prompt,
    post,
    status,
    streaming,
    text_of,
    until_idle,
    until_text,
    workers,
)
from serving import LLM, Server, serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def single(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service whose CPU takes one request at a time."""
    options = ["--Launcher.single_request_devices=CPU"]
    home = tmp_path_factory.mktemp("single")
    with serve([*COMMAND, *options], "", "", data_dir, home) as server:
        yield server


def content(answer: dict[str, object], choice: int = 0) -> str:
    choices = answer["choices"]
    assert isinstance(choices, list)
    return str(choices[choice]["message"]["content"])


def test_a_chat_with_its_counts(single: Server) -> None:
    answer = ask(single, max_tokens=8, ignore_eos=True)
    assert content(answer)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 8
    assert answer["usage"]["prompt_tokens"] == 36


def test_a_stream_says_the_same_as_a_whole_answer(single: Server) -> None:
    whole = ask(single, max_tokens=20)
    body = chat(stream=True, max_tokens=20, stream_options={"include_usage": True})
    with streaming(single, body) as lines:
        events = list(data(lines))
    assert text_of(events) == content(whole)
    assert len(events) > 10
    assert events[-1]["usage"] == whole["usage"]


def test_stop_strings_end_an_answer(single: Server) -> None:
    whole = content(ask(single, max_tokens=20))
    stop = whole[5:9]
    answer = ask(single, max_tokens=20, stop=[stop])
    assert content(answer) == whole[: whole.index(stop)]
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_seeds_make_answers_repeatable_and_choices_differ(single: Server) -> None:
    fields = {"n": 2, "seed": 7, "temperature": 1.2, "max_tokens": 12}
    first, second = ask(single, **fields), ask(single, **fields)
    texts = [content(first, 0), content(first, 1)]
    assert texts == [content(second, 0), content(second, 1)]
    assert texts[0] != texts[1]
    assert first["usage"]["completion_tokens"] <= 24


def test_several_prompts_are_answered_one_after_the_other(single: Server) -> None:
    body = {"model": LLM, "prompt": ["One, two,", "Red, green,"], "max_tokens": 4, "echo": True}
    choices = post(single, "/v1/completions", **body).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert choices[0]["text"].startswith("One, two,")
    assert choices[1]["text"].startswith("Red, green,")
    assert all(len(choice["text"]) > 11 for choice in choices)


def test_an_answer_matches_its_schema(single: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    answer = ask(single, response_format=shape, max_tokens=60)
    jsonschema.validate(json.loads(content(answer)), schema)


@pytest.mark.parametrize(
    "schema", [{"type": "string", "pattern": "(["}, {"properties": {"\0": {"type": "null"}}}]
)
def test_a_bad_schema_harms_nobody(single: Server, schema: dict[str, object]) -> None:
    ask(single)
    (worker,) = workers(single)
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    reply = post(single, "/v1/chat/completions", **chat(response_format=shape))
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["code"] == "invalid_json_schema"
    assert content(ask(single))
    assert [process.pid for process in workers(single)] == [worker.pid]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"logprobs": True}, "unsupported_parameter", "logprobs"),
        ({"messages": long_prompt(9_000, "word")}, "context_length_exceeded", "messages"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(
    single: Server, fields: dict[str, object], code: str, param: str
) -> None:
    reply = post(single, "/v1/chat/completions", **chat(**fields))
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


def test_two_at_once_wait_for_each_other(single: Server) -> None:
    ask(single)
    with ThreadPoolExecutor() as pool:
        with streaming(single, endless()) as lines:
            until_text(lines)
            waits = pool.submit(ask, single)
            wait_until(lambda: status(single)[LLM]["requests_waiting"] == 1)
            assert status(single)[LLM]["requests_running"] == 1
        assert content(waits.result())


def test_a_client_gone_in_mid_stream(single: Server) -> None:
    ask(single)
    with streaming(single, endless()) as lines:
        until_text(lines)
    until_idle(single)
    made = status(single)[LLM]["tokens_generated"]
    ask(single)
    assert status(single)[LLM]["tokens_generated"] - made < 100, "it went on generating"


def test_a_worker_killed_in_mid_stream(single: Server) -> None:
    ask(single)
    (worker,) = workers(single)
    with streaming(single, endless()) as lines:
        until_text(lines)
        worker.kill()
        *_, last = data(lines)
    assert last["error"]["code"] == "worker_died"
    assert content(ask(single))
