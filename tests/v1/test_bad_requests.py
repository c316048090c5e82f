"""Nothing that a caller sends gives a 500, hangs, or is answered wrongly in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving import LLM, Server

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
ENVELOPE = {"message", "type", "param", "code"}


def schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": LLM, "messages": HELLO, "max_tokens": 4, **fields}).encode()


def error(server: Server, content: bytes, path: str = CHAT) -> tuple[int, Any]:
    """Post a body and give the status and the error, which must be in the envelope."""
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    with server.http(**headers) as http:
        reply = http.post(path, content=content)
    told = reply.json()["error"]
    assert set(told) == ENVELOPE
    assert "Traceback" not in told["message"]
    assert reply.headers["x-request-id"].startswith("req_")
    return reply.status_code, told


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"model": "\xff"}',
        b"\xff\xfe{}",
        b'{"model": "\\ud800"}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        chat(temperature=float("nan")),
        chat(temperature=float("inf")),
        b'{"model": 1e999}',
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/models/load"])
def test_bodies_that_are_no_json_object(server: Server, path: str, body: bytes) -> None:
    status, told = error(server, body, path)
    assert status == 400
    assert told["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"stop": ["x"] * 10_000}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": schema({"type": "wizard"})}, "response_format.json_schema.schema"),
        ({"response_format": schema({"type": "string", "pattern": "(["})}, None),
        ({"response_format": schema({"$ref": "#/$defs/none"})}, None),
        ({"response_format": schema({"$ref": "http://169.254.169.254/"})}, None),
        ({"model": "../../etc/passwd\x00"}, None),
        ({"chat_template_kwargs": {"messages": 3, "tools": {}}}, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_fields(server: Server, fields: Any, param: str | None, stream: bool) -> None:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    with server.http(**headers) as http:
        reply = http.post(CHAT, content=chat(**fields, stream=stream))
    if "chat_template_kwargs" in fields:  # templates may look at it, or not
        assert reply.status_code in {200, 400}
        return
    assert 400 <= reply.status_code < 500
    if param:
        assert reply.json()["error"]["param"] == param


def test_a_good_request_follows_a_bad_schema(server: Server) -> None:
    for bad in ({"type": "string", "pattern": "(["}, {"type": "integer", "multipleOf": "x"}):
        status, told = error(server, chat(response_format=schema(bad)))
        assert (status, told["code"]) == (400, "invalid_json_schema")
    good = server.client().chat.completions.create(
        model=LLM, messages=[{"role": "user", "content": "Hello"}], max_tokens=4
    )
    assert good.choices[0].message.content


def test_a_prompt_of_ten_megabytes(server: Server) -> None:
    status, told = error(server, chat(messages=[{"role": "user", "content": "word " * 2_000_000}]))
    assert (status, told["code"]) == (400, "context_length_exceeded")


def test_a_body_that_is_too_large(server: Server) -> None:
    status, told = error(server, b'{"a": "' + b"x" * (33 * 2**20) + b'"}')
    assert (status, told["code"]) == (413, "request_too_large")
    assert "33,554,432" in told["message"]


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_other_content_types(server: Server, content_type: str) -> None:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": content_type}
    with server.http(**headers) as http:
        reply = http.post(CHAT, content=chat())
    assert reply.status_code == 415
    assert reply.json()["error"]["code"] == "unsupported_media_type"


def test_a_method_that_an_address_does_not_have(server: Server) -> None:
    with server.http() as http:
        reply = http.get(CHAT)
    assert reply.status_code == 405
    assert set(reply.json()["error"]) == ENVELOPE


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/responses", "/v1/chat", "/v1/models/"])
@pytest.mark.parametrize("verb", ["GET", "POST", "DELETE"])
def test_addresses_that_are_not_served(server: Server, verb: str, path: str) -> None:
    with server.http() as http, server.http(Accept="*/*") as anyone:
        reply = http.request(verb, path)
        assert anyone.request(verb, path).status_code == 401
    assert reply.status_code == 404
    assert set(reply.json()["error"]) == ENVELOPE


def test_the_log_has_no_traceback_of_any_of_this(server: Server) -> None:
    assert "Traceback" not in server.log.read_text("utf-8")
