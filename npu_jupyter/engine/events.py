"""What the engine does, told to everyone who watches: the panel, the widgets, the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

_BACKLOG = 256


class EventBus:
    """Hands each event to all who subscribed; a slow reader loses its oldest, never blocks us."""

    def __init__(self) -> None:
        """Start with nobody listening."""
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()
        self._next_id = 1

    def publish(self, event: str, **data: Any) -> None:
        """Tell all subscribers that `event` happened."""
        message = {"id": self._next_id, "event": event, "time": time.time(), **data}
        self._next_id += 1
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(message)

    async def subscribe(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield events from now on."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_BACKLOG)
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)
