"""A server extension for the benchmark: how long the event loop was busy with one thing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from tornado import web

_TICK_S = 0.001


class Ticker:
    """Asks to be called every millisecond, and notes when the loop was late."""

    def __init__(self) -> None:
        """Start with no tick."""
        self._longest_s = 0.0
        self._due = time.perf_counter()

    def tick(self) -> None:
        """Note how late this call is, and ask for the next."""
        now = time.perf_counter()
        self._longest_s = max(self._longest_s, now - self._due)
        self._due = now + _TICK_S
        asyncio.get_running_loop().call_later(_TICK_S, self.tick)

    def take(self) -> float:
        """Give the longest delay since the last time this was asked, in seconds."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s


class StallHandler(APIHandler):
    """Tells the longest stall."""

    def initialize(self, ticker: Ticker) -> None:
        """Take the ticker that all requests share."""
        self._ticker = ticker

    @web.authenticated
    def get(self) -> None:
        """Answer with the longest stall since the last request, in seconds."""
        self.finish({"longest_s": self._ticker.take()})


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "ticker"}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    ticker = Ticker()
    path = url_path_join(server.base_url, "benchmark", "stall")
    routes = [(path, StallHandler, {"ticker": ticker})]
    server.web_app.add_handlers(".*$", routes)  # type: ignore[no-untyped-call]
    server.io_loop.add_callback(ticker.tick)
