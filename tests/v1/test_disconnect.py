"""Clients that leave: the engine stops working for them."""

from __future__ import annotations

import socket
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from serving import LLM, Server

LONG: Any = {"model": LLM, "max_tokens": 4000, "ignore_eos": True, "temperature": 0}
CHAT = LONG | {"messages": [{"role": "user", "content": "Count to a million."}]}


def send(server: Server, path: str, body: Any) -> socket.socket:
    """Post over a bare socket, which can be closed at any moment."""
    address = urlsplit(server.url)
    payload = msgspec.json.encode(body)
    connection = socket.create_connection((address.hostname, address.port or 0))
    connection.sendall(
        f"POST {address.path}{path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n".encode()
        + payload
    )
    return connection


def running(server: Server) -> int:
    """Count the model's requests that run or wait."""
    with server.http() as http:
        models = http.get("/v1/models/status").json()["models"]
    return sum(
        model["requests_running"] + model["requests_waiting"]
        for model in models
        if model["name"] == LLM
    )


def wait_for(server: Server, expected: int) -> None:
    for _ in range(200):
        if running(server) == expected:
            return
        time.sleep(0.05)
    pytest.fail(f"{running(server)} requests are running, not {expected}")


@pytest.fixture(autouse=True)
def _loaded(server: Server) -> None:
    with server.http() as http:
        http.post("/v1/models/load", json={"name": LLM}).raise_for_status()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_in_the_middle(server: Server, stream: bool) -> None:
    connection = send(server, "/v1/chat/completions", CHAT | {"stream": stream})
    wait_for(server, 1)
    if stream:
        assert b"200 OK" in connection.recv(100)
    connection.close()
    wait_for(server, 0)


def test_a_client_that_leaves_while_its_prompt_is_read(server: Server) -> None:
    body = LONG | {"prompt": "a b c " * 2000, "stream": True}
    connection = send(server, "/v1/completions", body)
    wait_for(server, 1)
    connection.close()
    wait_for(server, 0)


def test_many_that_leave_at_once(server: Server) -> None:
    connections = [send(server, "/v1/chat/completions", CHAT) for _ in range(20)]
    wait_for(server, 20)
    for connection in connections:
        connection.close()
    wait_for(server, 0)
    answer = server.client().chat.completions.create(
        model=LLM, messages=[{"role": "user", "content": "Hi"}], max_tokens=2
    )
    assert answer.choices[0].message.content


def test_a_client_that_left_is_counted_as_such(server: Server) -> None:
    def left() -> float:
        with server.http() as http:
            lines = http.get("/metrics").text.splitlines()
        wanted = 'npu_jupyter_requests_total{route="/v1/chat/completions",status="499"}'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(wanted))

    before = left()
    connection = send(server, "/v1/chat/completions", CHAT)
    wait_for(server, 1)
    connection.close()
    wait_for(server, 0)
    assert left() == before + 1
    assert "Traceback" not in server.log.read_text("utf-8")
