"""How calls travel: two transports over httpx, one that waits and one for asyncio."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import httpx

from npu_jupyter.client.answers import (
    Event,
    EventReader,
    Note,
    ServerUnreachable,
    check,
    decode,
    on_device,
)
from npu_jupyter.client.calls import Call

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 5.0
_WRITE_TIMEOUT_S = 60.0
_MAX_CONNECTIONS = 256

# A model may take minutes to load and to answer: the server has limits, and says so in words.
TIMEOUT = httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S, write=_WRITE_TIMEOUT_S)


def settings(url: str, key: str | None) -> dict[str, Any]:
    """Give the settings of an httpx client for a server of ours."""
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "timeout": TIMEOUT,
        "limits": httpx.Limits(max_connections=_MAX_CONNECTIONS),
        # A company's proxy cannot reach this machine's own loopback address.
        "trust_env": not on_loopback(url),
        "verify": _certificates(encrypted=url.startswith("https:")),
    }


@cache
def _certificates(*, encrypted: bool) -> ssl.SSLContext:
    """Read the certificates of those who vouch for servers, once; plain HTTP needs none."""
    return httpx.create_ssl_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def on_loopback(url: str) -> bool:
    """Whether `url` is on this machine."""
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Transport:
    """Sends calls and waits for their answers; any thread may use it."""

    def __init__(self, url: str, key: str | None) -> None:
        """Connect at the first call."""
        self._url = url
        self._http = httpx.Client(**settings(url, key))

    def send(self, call: Call[T]) -> T:
        """Send a call and give its answer.

        Raises:
            NpuError: that the server told of.
            ServerUnreachable: it does not answer.
        """
        with _reachable(self._url):
            reply = self._http.send(_request(self._http, call))
        return call.read(decode(reply))

    def stream(self, call: Call[T]) -> Generator[Event | Note]:
        """Send a call and give events and comments as they come; closing it hangs up.

        Raises:
            NpuError: that the server told of, at the start or in the stream.
            ServerUnreachable: it does not answer, or has gone.
        """
        with _reachable(self._url):
            reply = self._http.send(_request(self._http, call), stream=True)
            try:
                if not reply.is_success:
                    reply.read()
                check(reply)
                yield from on_device(reply)
                reader = EventReader()
                for line in reply.iter_lines():
                    yield from reader.feed(line)
            finally:
                reply.close()

    def close(self) -> None:
        """Close all connections; what they wait for ends on the server too."""
        self._http.close()


class AsyncTransport:
    """Sends calls on one event loop."""

    def __init__(self, url: str, key: str | None) -> None:
        """Connect at the first call."""
        self._url = url
        self._http = httpx.AsyncClient(**settings(url, key))

    async def send(self, call: Call[T]) -> T:
        """Send a call and give its answer.

        Raises:
            NpuError: that the server told of.
            ServerUnreachable: it does not answer.
        """
        with _reachable(self._url):
            reply = await self._http.send(_request(self._http, call))
        return call.read(decode(reply))

    async def stream(self, call: Call[T]) -> AsyncGenerator[Event | Note]:
        """Send a call and give events and comments as they come; closing it hangs up.

        Raises:
            NpuError: that the server told of, at the start or in the stream.
            ServerUnreachable: it does not answer, or has gone.
        """
        with _reachable(self._url):
            reply = await self._http.send(_request(self._http, call), stream=True)
            try:
                if not reply.is_success:
                    await reply.aread()
                check(reply)
                for note in on_device(reply):
                    yield note
                reader = EventReader()
                async for line in reply.aiter_lines():
                    for event in reader.feed(line):
                        yield event
            finally:
                await reply.aclose()

    async def close(self) -> None:
        """Close all connections; what they wait for ends on the server too."""
        await self._http.aclose()


def _request(http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
    if call.content is not None:
        headers = {"Content-Type": call.content_type}
        return http.build_request(
            call.method, call.path, params=call.query, content=call.content, headers=headers
        )
    return http.build_request(call.method, call.path, params=call.query, json=call.json)


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    """Say in words that a server does not answer."""
    try:
        yield
    except httpx.TransportError as error:
        reason = f" ({error})" if str(error) else ""
        raise ServerUnreachable(
            f"The server at {url} does not answer{reason}. Is it still running?"
        ) from error
