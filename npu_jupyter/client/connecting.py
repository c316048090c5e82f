"""``npu.connect()``: find the server, or say where it was looked for."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx

from npu_jupyter.client.answers import decode
from npu_jupyter.client.async_client import AsyncClient
from npu_jupyter.client.client import Client
from npu_jupyter.client.discovery import Candidate, base, candidates
from npu_jupyter.client.transport import settings
from npu_jupyter.errors import InvalidApiKey, NotFound, NpuError, PermissionDenied

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

_PROBE_TIMEOUT_S = 5.0

_lock = threading.Lock()
_current: Client | None = None


class ServerNotFound(NotFound):
    """No server answered at any of the places where one may be."""

    code = "server_not_found"


def connect(url: str | None = None, key: str | None = None) -> Client:
    """Connect to a server, by default to the one that is found; later calls use it too.

    Looked for, in this order: `url`; NPU_JUPYTER_URL (key in NPU_JUPYTER_KEY); OPENAI_BASE_URL, if
    a server of ours is there; the user's server on JupyterHub; the Jupyter Server of this kernel;
    ``jupyter npu`` on port 8000; other Jupyter Servers of this user.

    Raises:
        ServerNotFound: none answered, with all that was tried.
        InvalidApiKey: the server at `url` does not know the key.
    """
    global _current  # noqa: PLW0603 - what cells connect to is one thing for the whole kernel
    found = _find(url, key)
    with _lock:
        _current = Client(found.url, found.key)
        return _current


def connect_async(url: str | None = None, key: str | None = None) -> AsyncClient:
    """Connect as `connect` does, for asyncio.

    Raises:
        ServerNotFound: none answered, with all that was tried.
        InvalidApiKey: the server at `url` does not know the key.
    """
    found = _find(url, key)
    return AsyncClient(found.url, found.key)


def current() -> Client:
    """Give the client that was connected last; connect if there is none.

    Raises:
        ServerNotFound: no server answered.
    """
    return _current or connect()


def connected() -> Client | None:
    """Give the client that was connected last, without looking for a server."""
    return _current


def openai(**options: Any) -> OpenAI:
    """Give OpenAI's own client for the current server; `options` are passed on to it.

    Raises:
        MissingExtra: the package openai is not installed.
    """
    return current().openai(**options)


def async_openai(**options: Any) -> AsyncOpenAI:
    """Give OpenAI's own client for asyncio, for the current server.

    Raises:
        MissingExtra: the package openai is not installed.
    """
    client = current()
    return AsyncClient(client.url, client.key).openai(**options)


def _find(url: str | None, key: str | None) -> Candidate:
    if url is not None:
        candidate = Candidate(base(url), key, "the address that was given")
        _probe(candidate)
        return candidate
    found = candidates()
    if key is not None:
        found = [replace(candidate, key=key) for candidate in found]
    return first_that_answers(found)


def first_that_answers(places: Iterable[Candidate]) -> Candidate:
    """Try places one after the other.

    Raises:
        ServerNotFound: none of them is a server of ours that lets us in, with what each said.
    """
    tried = []
    for candidate in places:
        try:
            _probe(candidate)
        except NpuError as error:
            tried.append(f"\n  {candidate.url} ({candidate.source}): {error.message}")
        else:
            return candidate
    raise ServerNotFound(
        "No npu-jupyter server was found. Start one with `jupyter npu` in a terminal, or name it: "
        "npu.connect('http://host:8000', key='…'). Tried:" + "".join(tried)
    )


def _probe(candidate: Candidate) -> None:
    """Check that a server of ours is there, and only then that it lets this key in.

    Raises:
        NpuError: it is not, or it does not.
    """
    anonymous = settings(candidate.url, None) | {"timeout": _PROBE_TIMEOUT_S}
    known = settings(candidate.url, candidate.key) | {"timeout": _PROBE_TIMEOUT_S}
    try:
        with httpx.Client(**anonymous) as http:
            health = http.get("/health")
        if not _is_ours(health):
            raise ServerNotFound("another program answers there.")
        with httpx.Client(**known) as http:
            decode(http.get("/v1/models/status"))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise ServerNotFound(f"nothing answers there ({reason}).") from None
    except (InvalidApiKey, PermissionDenied) as error:
        raise type(error)(f"the server is there and refuses: {error.message}") from None


def _is_ours(health: httpx.Response) -> bool:
    try:
        told = health.json()
    except ValueError:
        return False
    return health.is_success and isinstance(told, dict) and {"status", "version"} <= told.keys()
