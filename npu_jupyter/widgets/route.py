"""How a widget's page reaches the server: by itself, or through the kernel.

In JupyterLab and Notebook the page comes from the very server that runs the models. There the
page asks it directly, with its own login: an answer goes on, and Stop works, while a cell blocks
the kernel or the kernel restarts. Elsewhere (VS Code, Colab, a server on another machine, a
service of a Hub) the page cannot ask, and the kernel does it for the page. The page sees the same
HTTP on both ways.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from npu_jupyter.client.transport import on_loopback, settings

_SEND_EVERY_S = 1 / 30
"""What a page draws; text that comes faster is sent together."""
_PATHS = ("v1/", "api/", "health")
"""What a page may ask for: the calls of this project."""


class Route(StrEnum):
    """The two ways."""

    PAGE = "page"
    KERNEL = "kernel"


def route_to(url: str) -> Route:
    """Choose the way to the server at `url`: the page's own if it is this kernel's Jupyter Server.

    The page falls back to the kernel by itself where it does not come from a Jupyter Server.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    name = f"jpserver-{os.environ.get('JPY_PARENT_PID', '')}.json"
    try:
        own = json.loads((Path(jupyter_runtime_dir()) / name).read_text("utf-8"))
        port, path, host = own["port"], str(own["base_url"]).rstrip("/"), own["hostname"]
    except (OSError, ValueError, KeyError, TypeError):
        return Route.KERNEL
    parts = urlsplit(url)
    here = on_loopback(url) or parts.hostname == host
    same = here and (parts.port, parts.path.rstrip("/")) == (port, path)
    return Route.PAGE if same else Route.KERNEL


class Forwarder:
    """Asks the server for a page: answers go back as messages, at most 30 a second each.

    All work is done on one thread of its own, so that a message from the page is taken in no
    time, on whatever thread it arrives.
    """

    def __init__(self, url: str, key: str | None, send: Callable[[dict[str, Any]], None]) -> None:
        """Answer through `send`, which must take messages from any thread."""
        self._settings = settings(url, key)
        self._send = send
        self._running: dict[str, Future[None]] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Begin the request that a page asks for, or end it."""
        request_id = str(message.get("id"))
        if message.get("close"):
            if running := self._running.pop(request_id, None):
                running.cancel()
        elif str(message.get("path")).startswith(_PATHS):
            work = self._forward(request_id, message)
            self._running[request_id] = asyncio.run_coroutine_threadsafe(work, _loop())

    async def _forward(self, request_id: str, message: dict[str, Any]) -> None:
        try:
            async with (
                httpx.AsyncClient(**self._settings) as http,
                http.stream(
                    message["method"], "/" + message["path"], json=message["body"]
                ) as reply,
            ):
                retry_after = reply.headers.get("retry-after")
                head = {"status": reply.status_code, "retry_after": retry_after}
                self._send({"id": request_id, **head})
                async for text in reply.aiter_text():
                    self._send({"id": request_id, "text": text})
                    await asyncio.sleep(_SEND_EVERY_S)
            self._send({"id": request_id, "end": True})
        except httpx.HTTPError as error:
            self._send({"id": request_id, "failed": str(error) or type(error).__name__})
        finally:
            self._running.pop(request_id, None)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="npu-widgets", daemon=True).start()
    return loop
