"""Puts a question about many rows to a server, as many at once as its lane has room for.

It runs in a thread with an event loop of its own: a cell may have one already, and the thread of
the cell must be free to be interrupted. Half of a model's places are left to others, so that
whoever chats meanwhile does not wait in line behind the rows.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import anyio
from anyio.from_thread import start_blocking_portal

from npu_jupyter import errors
from npu_jupyter.client import calls
from npu_jupyter.client.answers import ServerUnreachable
from npu_jupyter.client.calls import Call
from npu_jupyter.client.records import LoadedModel
from npu_jupyter.client.rows.tasks import Task
from npu_jupyter.client.transport import AsyncTransport

T = TypeVar("T")

_SHARE_OF_PLACES = 0.5
_AT_ONCE_UNTIL_KNOWN = 1
_MAX_ATTEMPTS = 6
_MAX_WAIT_S = 60.0
_LOOK_S = 0.1
"""Seconds between looks at what the thread has brought; an interrupt is heard between them."""
_OF_THE_ROW = {"input", "messages"}
_INPUT = re.compile(r"input\.(\d+)")

_FATAL = (
    errors.DeviceUnavailable,
    errors.InvalidApiKey,
    errors.InvalidSchema,
    errors.LoadFailed,
    errors.ModelNotFound,
    errors.PermissionDenied,
    errors.UnsupportedParameter,
    ServerUnreachable,
)
"""What no other row would escape: the run ends, instead of failing row by row."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A row's answer, as it is kept, and as it is given; or why there is none."""

    text: str
    raw: bytes | None
    value: Any
    error: errors.NpuError | None = None

    @property
    def unusable(self) -> bool:
        """Whether the model answered, and not what was asked for."""
        return self.error is not None and self.raw is not None


class Asking:
    """One question about many texts."""

    def __init__(self, url: str, key: str | None, task: Task, texts: Sequence[str]) -> None:
        """Prepare to ask the server at `url`."""
        self._server = (url, key)
        self._task = task
        self._left = deque(texts)
        self._answers: SimpleQueue[Answered] = SimpleQueue()
        self.device: str | None = None
        """Where the model runs, once that is known."""

    def answers(self) -> Generator[list[Answered]]:
        """Give answers as they come, an empty list when none came for a while.

        Closing the iterator, and any exception in its reader, cancels what runs on the server.

        Raises:
            NpuError: no row can be answered.
        """
        if not self._left:
            return
        with start_blocking_portal() as portal:
            work = portal.start_task_soon(self._run)
            try:
                while not work.done():
                    yield self._come()
                while some := self._come():
                    yield some
                work.result()
            finally:
                work.cancel()

    def kept(self) -> list[Answered]:
        """Take what has come and was not given out: after an interrupt."""
        return list(self._drain())

    def _come(self) -> list[Answered]:
        try:
            first = self._answers.get(timeout=_LOOK_S)
        except Empty:
            return []
        return [first, *self._drain()]

    def _drain(self) -> Iterator[Answered]:
        while not self._answers.empty():
            yield self._answers.get()

    async def _run(self) -> None:
        try:
            async with self._transport() as transport:
                await self._ask_next(transport)  # loads the model, if nobody has
                places = await self._places(transport)
            async with anyio.create_task_group() as group:
                for _ in range(min(places, len(self._left))):
                    group.start_soon(self._ask_all)
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from None

    @asynccontextmanager
    async def _transport(self) -> AsyncGenerator[AsyncTransport]:
        """Open connections; each of those who ask has his own.

        In one pool for all, every request would look through the connections of all others:
        a quarter of what the client costs.
        """
        transport = AsyncTransport(*self._server)
        try:
            yield transport
        finally:
            with anyio.CancelScope(shield=True):
                await transport.close()

    async def _places(self, transport: AsyncTransport) -> int:
        """Decide how many requests may be under way."""
        loaded = {model.name: model for model in await transport.send(calls.status())}
        model: LoadedModel | None = loaded.get(self._task.model.id)
        if model is None:
            return _AT_ONCE_UNTIL_KNOWN
        self.device = model.device
        return max(1, int(model.max_running * _SHARE_OF_PLACES))

    async def _ask_all(self) -> None:
        async with self._transport() as transport:
            while self._left:
                await self._ask_next(transport)

    async def _ask_next(self, transport: AsyncTransport) -> None:
        """Ask about the next rows, and otherwise where the answer was none."""
        texts = [self._left.popleft() for _ in range(min(self._task.at_once, len(self._left)))]
        for answer in await self._ask(transport, self._task, texts):
            if answer.unusable and self._task.fallback:
                self._put(await self._ask(transport, self._task.fallback, [answer.text]))
            else:
                self._put([answer])

    def _put(self, answers: list[Answered]) -> None:
        for answer in answers:
            self._answers.put(answer)

    async def _ask(self, transport: AsyncTransport, task: Task, texts: list[str]) -> list[Answered]:
        """Send some rows, and again without those that are at fault."""
        done: list[Answered] = []
        while texts:
            call = task.call(texts)
            try:
                answer = await _send(transport, call)
            except errors.NpuError as error:
                if isinstance(error, _FATAL) or _about_settings(error, call):
                    raise
                faulty = _at_fault(error, texts)
                done += [Answered(text, None, None, error) for text in faulty]
                texts = [text for text in texts if text not in faulty]
            else:
                pairs = zip(texts, task.raw(answer), strict=True)
                return done + [_read(task, text, raw) for text, raw in pairs]
        return done


async def _send(transport: AsyncTransport, call: Call[T]) -> T:
    """Send a request, and again where the server says that it may succeed later."""
    for attempt in range(1, _MAX_ATTEMPTS):
        try:
            return await transport.send(call)
        except errors.NpuError as error:
            if not error.retryable:
                raise
            await anyio.sleep(min(error.retry_after_s or 2.0**attempt, _MAX_WAIT_S))
    return await transport.send(call)


def _read(task: Task, text: str, raw: bytes) -> Answered:
    try:
        return Answered(text, raw, task.value(raw))
    except errors.NpuError as error:
        return Answered(text, raw, None, error)


def _about_settings(error: errors.NpuError, call: Call[Any]) -> bool:
    """Whether an error names what is the same in every row's request."""
    field = (error.param or "").partition(".")[0]
    return field in (call.json or {}) and field not in _OF_THE_ROW


def _at_fault(error: errors.NpuError, texts: list[str]) -> list[str]:
    """Give the texts of a request that an error is about: the one it names, or all."""
    named = _INPUT.fullmatch(error.param or "")
    return [texts[int(named.group(1))]] if named and len(texts) > 1 else texts


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give one of several errors that have the same cause."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
