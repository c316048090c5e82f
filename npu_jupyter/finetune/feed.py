"""Follows jobs in the database for all who listen: one poll a job, however many they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from npu_jupyter.finetune.records import ENDED, JobEvent
from npu_jupyter.finetune.store import JobStore

_POLL_S = 0.3
_PAGE = 500
"""Events that a listener takes at once, so that a long history is no long wait for others."""


class _Follower:
    """Looks whether a job has new events, as long as somebody listens."""

    def __init__(self) -> None:
        self.listeners = 0
        self.newest = 0
        self.failure: Exception | None = None
        self.changed = asyncio.Condition()
        self.task: asyncio.Task[None] | None = None

    async def until_newer(self, after: int) -> None:
        """Wait for an event after `after`; raise what keeps us from finding out."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.newest > after or self.failure)
        if self.failure is not None:
            raise self.failure


class JobFeed:
    """Hands out the events of jobs as trainers write them."""

    def __init__(self, store: JobStore) -> None:
        """Poll `store`, while somebody listens."""
        self._store = store
        self._followers: dict[int, _Follower] = {}

    async def listen(self, job_id: int, after: int = 0) -> AsyncGenerator[JobEvent]:
        """Yield a job's events after `after`, then new ones, until it has ended.

        Raises:
            NpuError: when the database fails.
        """
        follower = self._join(job_id)
        try:
            while True:
                ended = (await asyncio.to_thread(self._store.get, job_id)).status in ENDED
                while events := await asyncio.to_thread(
                    self._store.events, job_id, after, limit=_PAGE
                ):
                    for event in events:
                        yield event
                    after = events[-1].id
                if ended:
                    return
                await follower.until_newer(after)
        finally:
            self._leave(job_id, follower)

    def _join(self, job_id: int) -> _Follower:
        follower = self._followers.get(job_id)
        if follower is None or follower.failure is not None:
            follower = self._followers[job_id] = _Follower()
            follower.task = asyncio.create_task(self._poll(job_id, follower))
        follower.listeners += 1
        return follower

    def _leave(self, job_id: int, follower: _Follower) -> None:
        follower.listeners -= 1
        if follower.listeners == 0 and follower.task is not None:
            follower.task.cancel()
            if self._followers.get(job_id) is follower:
                del self._followers[job_id]

    async def _poll(self, job_id: int, follower: _Follower) -> None:
        with suppress(asyncio.CancelledError):
            while follower.failure is None:
                try:
                    newest = await asyncio.to_thread(self._store.newest_event, job_id)
                except Exception as error:  # noqa: BLE001 - those who listen raise it
                    follower.failure = error
                    newest = follower.newest
                if newest != follower.newest or follower.failure is not None:
                    follower.newest = newest
                    async with follower.changed:
                        follower.changed.notify_all()
                await asyncio.sleep(_POLL_S)
