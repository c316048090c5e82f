"""A caller of the bare service, down to the bytes, and what the server's children do."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import httpx
import psutil
from fakes.waiting import wait_until
from serving import LLM, Server

TIMEOUT_S = 120
FOREVER = 1_000_000
"""Tokens of an answer that does not end while a test looks at it."""


def chat(**fields: Any) -> dict[str, Any]:
    """Give a short chat's body."""
    messages = [{"role": "user", "content": "Count from one to ten."}]
    body = {"model": LLM, "messages": messages, "max_tokens": 8, "temperature": 0}
    return body | fields


def endless(**fields: Any) -> dict[str, Any]:
    """Give the body of a streamed answer that goes on and on."""
    return chat(stream=True, max_tokens=FOREVER, ignore_eos=True, **fields)


def long_prompt(words: int, about: str) -> list[dict[str, str]]:
    """Give messages of about as many tokens as `words`; another topic shares no prefix."""
    return [{"role": "user", "content": f"{about} " + f" {about}" * (words - 1)}]


def client(server: Server) -> httpx.Client:
    """Give each thread a client of its own: one for all closes connections under its users."""
    return _client(server, threading.get_ident())


@cache
def _client(server: Server, _thread: int) -> httpx.Client:
    return server.http()


def ask(server: Server, **fields: Any) -> dict[str, Any]:
    """Get one whole answer, which must be good."""
    reply = post(server, "/v1/chat/completions", **chat(**fields))
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def post(server: Server, path: str, **body: Any) -> httpx.Response:
    """Send a body as it is."""
    return client(server).post(path, json=body)


@contextmanager
def streaming(server: Server, body: dict[str, Any]) -> Iterator[Iterator[str]]:
    """Open a stream and give its events and comments; leaving the block hangs up."""
    with client(server).stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.status_code == 200, reply.read()
        yield (line for line in reply.iter_lines() if line)


def send(server: Server, body: dict[str, Any]) -> Callable[[], None]:
    """Send a chat and return what hangs up, whether an answer has come or not."""
    content = json.dumps(body).encode()
    address = httpx.URL(server.url)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: {address.netloc.decode()}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection((address.host, address.port))
    connection.sendall(head.encode() + content)
    return connection.close


def data(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Decode the events up to ``[DONE]``."""
    for line in lines:
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def text_of(events: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> str:
    """Join what a stream said."""
    return "".join(
        choice["delta"].get("content") or "" for event in events for choice in event["choices"]
    )


def until_text(lines: Iterator[str]) -> None:
    """Read until the first words are there."""
    while not text_of([next(data(lines))]):
        pass


def status(server: Server) -> dict[str, dict[str, Any]]:
    """Give what is told of each model in memory, by name."""
    models = client(server).get("/v1/models/status").json()["models"]
    return {model["name"]: model for model in models}


def workers(server: Server, module: str = "npu_jupyter.engine.worker") -> list[psutil.Process]:
    """List the server's worker processes."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(server.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if module in child.cmdline():
                    found.append(child)
    return found


def until_idle(server: Server) -> None:
    """Wait until nothing runs or waits in any model."""
    wait_until(
        lambda: (
            not any(
                model["requests_running"] or model["requests_waiting"]
                for model in status(server).values()
            )
        )
    )


def ended(processes: list[psutil.Process]) -> bool:
    """Wait for the end of processes; False if one outlives the limit."""
    _, alive = psutil.wait_procs(processes, timeout=TIMEOUT_S)
    return not alive
