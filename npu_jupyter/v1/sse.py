"""Server-sent events: answers as they come, and comments so that nobody thinks us dead.

Lines that start with a colon are comments. OpenAI's SDKs skip them, proxies count them as
life, and a person with curl reads the place in line or the stage of loading in them.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError

from npu_jupyter.handler import NpuHandler

_KEEP_ALIVE_S = 15.0
"""Proxies commonly cut a connection that was silent for 60 s."""
_HOLD_HEADERS_S = 2.0
"""How long an error still gets a status of its own, before a client is told that we live."""
_CONTENT_TYPE = "text/event-stream"
_DONE = b"data: [DONE]\n\n"


def frame(value: Any, *, event_id: int | None = None) -> bytes:
    """Wrap a value as one event."""
    before = b"" if event_id is None else b"id: %d\n" % event_id
    return before + b"data: " + msgspec.json.encode(value) + b"\n\n"


class EventStream:
    """A reply of events, as an async context manager.

    The headers are held back for `hold_s` seconds, so that what fails at once gets its proper
    status. What fails later is told in the stream, as OpenAI does it.
    """

    def __init__(
        self, handler: NpuHandler, *, hold_s: float = _HOLD_HEADERS_S, terminator: bytes = _DONE
    ) -> None:
        """Prepare to answer `handler`'s request; nothing is sent yet."""
        self._handler = handler
        self._hold_s = hold_s
        self._terminator = terminator
        self._loop = asyncio.get_running_loop()
        self._opened = False
        self._note = "waiting"
        self._sent_at = 0.0
        self._flushed: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        """Start to count the time that the headers are held back."""
        self._timer = self._loop.call_later(self._hold_s, self._keep_alive)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """End the stream: with its terminator, or with an error that came too late."""
        self._timer.cancel()
        if error is None:
            await self.send(self._terminator)
        elif not self._opened or isinstance(error, StreamClosedError):
            return False
        elif isinstance(error, Exception):
            self._handler.log_exception(kind, error, traceback)
            told = self._handler.told(error)
            self._handler.failed_status = told.status
            await self.send(frame(told.envelope()))
        else:
            return False
        self._handler.finish(set_content_type=_CONTENT_TYPE)
        return True

    def open(self) -> None:
        """Decide for 200 and send the headers with the first event."""
        if self._opened:
            return
        self._opened = True
        handler = self._handler
        handler.set_header("Content-Type", _CONTENT_TYPE)
        handler.set_header("Cache-Control", "no-cache")
        handler.set_header("X-Accel-Buffering", "no")
        if isinstance(handler.request.connection, HTTP1Connection):
            # Else the kernel may keep a token back until the last one is acknowledged.
            handler.request.connection.stream.set_nodelay(True)

    async def send(self, frames: bytes) -> None:
        """Send whole events; waits while the client has not taken the last ones.

        Raises:
            StreamClosedError: when the client is gone.
        """
        self.open()
        if self._flushed is not None:
            await self._flushed
        self._write(frames)

    def note(self, text: str) -> None:
        """Keep what the comments say; tell it at once when the stream is open."""
        changed = text != self._note
        self._note = text
        if changed and self._opened:
            self._comment()

    def _keep_alive(self) -> None:
        """Send a comment when nothing was sent for a while."""
        idle_s = self._loop.time() - self._sent_at
        if idle_s >= _KEEP_ALIVE_S:
            self.open()
            self._comment()
            idle_s = 0.0
        self._timer = self._loop.call_later(_KEEP_ALIVE_S - idle_s, self._keep_alive)

    def _comment(self) -> None:
        if self._flushed is None or self._flushed.done():  # a slow client needs no comments
            self._write(b": %s\n\n" % self._note.encode())

    def _write(self, data: bytes) -> None:
        self._handler.write(data)
        self._flushed = self._handler.flush()
        self._sent_at = self._loop.time()
