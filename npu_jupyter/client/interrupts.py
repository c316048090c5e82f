"""An interrupted cell hangs up on the server.

A stream that a cell reads stays open when the interrupt comes between two of its chunks: the
variable and the traceback hold on to it, and the model goes on for nobody. So streams are
remembered as long as they live, and closed when a cell ends by an interrupt.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any
from weakref import WeakSet

_streams: WeakSet[Any] = WeakSet()
"""Responses of OpenAI's clients, of which the package's version decides the class."""
_watched: WeakSet[Any] = WeakSet()
"""Shells whose cells are looked at."""


def follow(response: Any) -> None:
    """Remember a response until it is closed."""
    _streams.add(response)
    _watch_cells()


async def follow_async(response: Any) -> None:
    """Remember a response of an asynchronous client."""
    follow(response)


def hang_up() -> None:
    """Close every stream that is open."""
    for response in list(_streams):
        _streams.discard(response)
        if response.is_closed:
            continue
        if hasattr(response.stream, "__aiter__"):
            with contextlib.suppress(RuntimeError):  # its loop has ended, and it with it
                asyncio.get_running_loop().create_task(response.aclose())
        else:
            response.close()


def _watch_cells() -> None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and shell not in _watched:
        _watched.add(shell)
        shell.events.register("post_run_cell", _after_cell)


def _after_cell(result: Any) -> None:
    if isinstance(result.error_in_exec, KeyboardInterrupt | asyncio.CancelledError):
        hang_up()
