"""``GET /api/npu/events``: what the engine does, as it happens."""

from __future__ import annotations

from contextlib import aclosing

from npu_jupyter.access import allowed
from npu_jupyter.handler import NpuHandler
from npu_jupyter.v1.sse import EventStream, frame


class EventsHandler(NpuHandler):
    """Streams the engine's events until the client leaves."""

    route = "/api/npu/events"
    _track_activity = False

    @allowed("read", "npu:models")
    async def get(self) -> None:
        """Send each event as it happens; none from before."""
        await self.while_connected(self._stream())

    async def _stream(self) -> None:
        subscription = self.engine.events.subscribe()
        async with aclosing(subscription) as events, EventStream(self, hold_s=0) as stream:
            async for event in events:
                await stream.send(frame(event, event_id=event["id"]))
