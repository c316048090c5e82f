"""How an answer's bytes become values or errors: what both transports share."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from npu_jupyter import errors

_DONE = "[DONE]"
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event with JSON in it."""

    data: Any
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A comment between events: what a request waits for, as ``queued 3/17``."""

    text: str


class ServerUnreachable(errors.NpuError):
    """The server does not answer, or has gone in the middle of an answer."""

    status = 503
    code = "server_unreachable"
    retryable = True


_KINDS = {
    kind.code: kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.NpuError) and kind.code and kind is not errors.MissingExtra
}


def error_of(body: Any, status: int, retry_after: str | None = None) -> errors.NpuError:
    """Turn OpenAI's error envelope back into the exception that it was."""
    told = body.get("error") if isinstance(body, dict) else None
    if not isinstance(told, dict):
        told = {"message": f"The server answered {status}: {str(body)[:_LONGEST_TEXT]}"}
    code = told.get("code")
    kind = _KINDS.get(str(code)) or _of_status(status)
    error = kind(
        str(told.get("message")), param=told.get("param"), retry_after_s=_seconds(retry_after)
    )
    error.status, error.code = status, code
    return error


def _of_status(status: int) -> type[errors.NpuError]:
    """Choose a kind for an error that no server of ours wrote, as a proxy's."""
    kinds = (errors.InvalidRequest, errors.InvalidApiKey, errors.PermissionDenied, errors.NotFound)
    return next((kind for kind in kinds if kind.status == status), errors.NpuError)


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After, which a proxy may write as a date; that is not worth the wait."""
    return float(retry_after) if retry_after and retry_after.isdigit() else None


def check(reply: httpx.Response) -> None:
    """Raise the error that a reply tells of; its body must have been read.

    Raises:
        NpuError: of the kind that the server named.
    """
    if reply.is_success:
        return
    try:
        body = msgspec.json.decode(reply.content)
    except msgspec.DecodeError:
        body = reply.text
    raise error_of(body, reply.status_code, reply.headers.get("retry-after"))


def decode(reply: httpx.Response) -> Any:
    """Read the JSON of a good reply.

    Raises:
        NpuError: that the server told of, or that this is no JSON.
    """
    check(reply)
    try:
        return msgspec.json.decode(reply.content)
    except msgspec.DecodeError:
        raise errors.NpuError(
            f"{reply.request.url} answered something that is no JSON. Is it an npu-jupyter server?"
        ) from None


def on_device(reply: httpx.Response) -> Iterator[Note]:
    """Say where an answer comes from, as a comment would if the headers had gone out before."""
    if device := reply.headers.get("x-npu-device"):
        yield Note(f"running on {device}")


class EventReader:
    """Puts the lines of an event stream together.

    Comments are kept, which no reader of events that we know of does: in them the server says
    what a request waits for.
    """

    def __init__(self) -> None:
        """Begin before the first line."""
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, line: str) -> Iterator[Event | Note]:
        """Take a line; give what it completes.

        Raises:
            NpuError: that the stream tells of.
        """
        if line.startswith(":"):
            yield Note(line[1:].strip())
        elif line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "id":
                self._id = value
        elif self._data:
            text, self._data = "\n".join(self._data), []
            if text != _DONE:
                yield self._event(msgspec.json.decode(text))

    def _event(self, data: Any) -> Event:
        if (
            isinstance(data, dict)
            and isinstance(data.get("error"), dict)
            and "message" in data["error"]
            and len(data) == 1
        ):
            raise error_of(data, errors.NpuError.status)
        return Event(data, self._id)
