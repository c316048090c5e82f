"""A client that costs next to nothing, because it shares the cores with what it measures.

Bytes are kept as they come, each with its time, and read when the clock has stopped.
"""

from __future__ import annotations

import itertools
import json
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from texts import Chat

_DONE = "[DONE]"
_READ_BYTES = 65_536
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Streamed:
    """What several streams at once took."""

    seconds: float
    first_token_s: float
    """Until any stream had its first text."""
    tokens: int
    """As the server's usage counts say."""


@dataclass(slots=True)
class _Reply:
    """What came back for one request, and when."""

    received: list[tuple[float, bytes]] = field(default_factory=list)

    def read(self) -> tuple[float, int]:
        """Give the time of the first text, and the completion tokens.

        Raises:
            RuntimeError: the answer is not a whole stream.
        """
        raw = b"".join(data for _, data in self.received)
        head, _, body = raw.partition(b"\r\n\r\n")
        events = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
        if not head.startswith(b"HTTP/1.1 200") or not events or events[-1] != _DONE:
            raise RuntimeError(f"The server did not stream to the end: {raw[-2000:]!r}")
        chunks = [json.loads(event) for event in events[:-1]]
        first = next(event for event, chunk in zip(events, chunks, strict=False) if _text(chunk))
        ends = itertools.accumulate(len(data) for _, data in self.received)
        position = raw.index(first.encode())
        arrived = next(i for i, end in enumerate(ends) if end > position)
        return self.received[arrived][0], chunks[-1]["usage"]["completion_tokens"]


def _text(chunk: dict[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


def _request(port: int, token: str, model: str, chat: Chat, new_tokens: int) -> bytes:
    body = json.dumps(
        {
            "model": model,
            "messages": chat,
            "max_tokens": new_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


def _send(port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
    connection.sendall(request)
    return connection


def _receive(connections: dict[socket.socket, _Reply]) -> None:
    """Take what comes until every connection is closed."""
    with selectors.DefaultSelector() as selector:
        for connection, reply in connections.items():
            selector.register(connection, selectors.EVENT_READ, reply)
        while selector.get_map():
            for key, _ in selector.select(_TIMEOUT_S):
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(_READ_BYTES)
                if data:
                    key.data.received.append((time.perf_counter(), data))
                else:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()


def stream(port: int, token: str, model: str, chats: Sequence[Chat], new_tokens: int) -> Streamed:
    """Have `chats` answered all at once, each on a connection of its own.

    Raises:
        RuntimeError: a stream did not come to its end.
    """
    requests = [_request(port, token, model, chat, new_tokens) for chat in chats]
    started = time.perf_counter()
    connections = {_send(port, request): _Reply() for request in requests}
    _receive(connections)
    replies = connections.values()
    ended = max(reply.received[-1][0] for reply in replies)
    read = [reply.read() for reply in replies]
    first = min(at for at, _ in read)
    return Streamed(ended - started, first - started, sum(tokens for _, tokens in read))
