"""Answers that must be JSON, and schemas that would break the engine for everyone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest
from service.wire import ask, chat, data, post, streaming, until_text, workers
from serving import Server

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
POISON: dict[str, Any] = {"type": "object", "properties": {"\0": {"type": "null"}}}
"""Passes our own check of grammars, and the engine's compiler fails on it."""


def shaped(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_an_answer_matches_its_schema(chat_server: Server) -> None:
    body = chat(response_format=shaped(PERSON), max_tokens=60, temperature=1, seed=1, n=4)
    choices = post(chat_server, "/v1/chat/completions", **body).json()["choices"]
    ended = [
        choice["message"]["content"] for choice in choices if choice["finish_reason"] == "stop"
    ]
    assert ended, "some may go on with white space, which the schema allows, but not all"
    for text in ended:
        jsonschema.validate(json.loads(text), PERSON)


def test_a_bad_schema_harms_nobody(chat_server: Server) -> None:
    (worker,) = workers(chat_server)
    bad = {"type": "string", "pattern": "(["}
    reply = post(chat_server, "/v1/chat/completions", **chat(response_format=shaped(bad)))
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_json_schema"
    ask(chat_server, response_format=shaped(PERSON))
    assert [process.pid for process in workers(chat_server)] == [worker.pid]


@pytest.mark.slow
def test_a_schema_that_breaks_the_engine_costs_its_own_request_alone(chat_server: Server) -> None:
    (worker,) = workers(chat_server)
    running = chat(stream=True, max_tokens=200, ignore_eos=True)
    broken = chat(response_format=shaped(POISON))
    shapely = chat(response_format=shaped(PERSON), max_tokens=200)
    with ThreadPoolExecutor() as pool, streaming(chat_server, running) as lines:
        until_text(lines)
        replies = [
            pool.submit(post, chat_server, "/v1/chat/completions", **body)
            for body in (broken, shapely, broken)
        ]
        *_, last = data(lines)
        first, good, second = (reply.result() for reply in replies)
    assert last["choices"][0]["finish_reason"] == "length"
    for refused in (first, second):
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["code"] == "invalid_json_schema"
    # Its grammar may have been half-way through, and cannot go on from there.
    assert good.status_code == 200 or good.json()["error"]["code"] == "worker_died"
    assert ask(chat_server)["choices"][0]["message"]["content"]
    assert [process.pid for process in workers(chat_server)] == [worker.pid]
