"""Waiting for what another process or task is about to do; the test's own limit ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_INTERVAL_S = 0.05


async def until(condition: Callable[[], object]) -> None:
    """Let others work until `condition` holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for is told by no event
        await asyncio.sleep(_INTERVAL_S)


def wait_until(condition: Callable[[], object]) -> None:
    """Sleep until `condition` holds."""
    while not condition():
        time.sleep(_INTERVAL_S)
