"""Imports of models in the background, each with its progress."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from logging import Logger
from pathlib import Path
from typing import Any

from npu_jupyter.engine.events import EventBus
from npu_jupyter.errors import EngineBusy, NotFound, NpuError, PermissionDenied
from npu_jupyter.registry.records import ModelRecord, PullProgress
from npu_jupyter.registry.store import Registry

_AT_ONCE = 2
"""Imports share the disk and the network; more at once make none of them faster."""
_MAX_WAITING = 32
_KEPT = 100
"""Imports that are remembered, the newest."""
_TELL_EVERY_S = 0.5


class PullStatus(StrEnum):
    """Where an import is."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


_OVER = {PullStatus.COMPLETED, PullStatus.FAILED, PullStatus.CANCELLED}


@dataclass(eq=False)
class Pull:
    """One import."""

    id: int
    source: str
    name: str | None
    precision: str | None
    created: int = field(default_factory=lambda: int(time.time()))
    status: PullStatus = PullStatus.QUEUED
    progress: PullProgress = field(default_factory=lambda: PullProgress("queued"))
    model: str | None = None
    """The name under which it was registered."""
    error: NpuError | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    told_at: float = 0.0

    def describe(self) -> dict[str, Any]:
        """Give what is told of it."""
        return {
            "id": self.id,
            "source": self.source,
            "name": self.name,
            "precision": self.precision,
            "created": self.created,
            "status": self.status,
            "stage": self.progress.stage,
            "done_bytes": self.progress.done_bytes,
            "total_bytes": self.progress.total_bytes,
            "message": self.progress.message,
            "model": self.model,
            "error": self.error.envelope()["error"] if self.error else None,
        }


class Pulls:
    """Runs imports in threads of their own, so that they take none from requests."""

    def __init__(self, registry: Registry, events: EventBus, log: Logger) -> None:
        """Have nothing to import yet."""
        self._registry = registry
        self._events = events
        self._log = log
        self._pulls: dict[int, Pull] = {}
        self._next_id = 1
        self._threads = ThreadPoolExecutor(_AT_ONCE, "npu-pull")
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, source: str, name: str | None, precision: str | None) -> Pull:
        """Begin an import.

        Raises:
            EngineBusy: too many are waiting.
        """
        if len(self._tasks) >= _AT_ONCE + _MAX_WAITING:
            raise EngineBusy(
                f"{len(self._tasks)} imports are under way. Try again when some are done.",
                retry_after_s=30,
            )
        pull = Pull(self._next_id, source, name, precision)
        self._next_id += 1
        self._pulls[pull.id] = pull
        self._forget_oldest()
        task = asyncio.create_task(self._run(pull))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return pull

    def all(self) -> list[Pull]:
        """List the imports that are remembered, the oldest first."""
        return list(self._pulls.values())

    def get(self, pull_id: int) -> Pull:
        """Give an import.

        Raises:
            NotFound: there is none of that id.
        """
        try:
            return self._pulls[pull_id]
        except KeyError:
            raise NotFound(
                f"There is no import {pull_id}. GET /api/npu/pulls lists them."
            ) from None

    @property
    def busy(self) -> bool:
        """Whether an import is under way."""
        return bool(self._tasks)

    async def close(self) -> None:
        """Stop all imports; nothing of them is registered."""
        for pull in self._pulls.values():
            pull.cancelled.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._threads.shutdown(wait=False)

    async def _run(self, pull: Pull) -> None:
        loop = asyncio.get_running_loop()

        def tell(progress: PullProgress) -> None:
            loop.call_soon_threadsafe(self._advance, pull, progress)

        try:
            record = await loop.run_in_executor(self._threads, self._import, pull, tell)
        except NpuError as error:
            self._end(pull, error)
        except Exception:  # noqa: BLE001 - a background task has nobody else to tell
            self._log.exception("Importing %s failed", pull.source)
            self._end(pull, NpuError("The import failed. The server's log tells more."))
        else:
            pull.model = record.name
            self._end(pull, None)

    def _import(self, pull: Pull, tell: Callable[[PullProgress], None]) -> ModelRecord:
        return self._registry.pull(
            pull.source,
            pull.name,
            precision=pull.precision,
            progress=tell,
            cancelled=pull.cancelled,
        )

    def _advance(self, pull: Pull, progress: PullProgress) -> None:
        now = time.monotonic()
        new_stage = progress.stage != pull.progress.stage
        pull.status, pull.progress = PullStatus.RUNNING, progress
        if new_stage or now - pull.told_at >= _TELL_EVERY_S:
            pull.told_at = now
            self._publish(pull)

    def _end(self, pull: Pull, error: NpuError | None) -> None:
        pull.error = error
        if error is None:
            pull.status = PullStatus.COMPLETED
        else:
            stopped = pull.cancelled.is_set()
            pull.status = PullStatus.CANCELLED if stopped else PullStatus.FAILED
        self._publish(pull)

    def _publish(self, pull: Pull) -> None:
        self._events.publish("model.pull", pull=pull.describe())

    def _forget_oldest(self) -> None:
        over = [pull.id for pull in self._pulls.values() if pull.status in _OVER]
        for pull_id in over[: max(0, len(self._pulls) - _KEPT)]:
            del self._pulls[pull_id]


def check_source(source: str, source_dirs: list[str]) -> None:
    """Let callers import from the network, and from this machine only where they may read.

    Raises:
        PermissionDenied: `source` is a path outside `source_dirs`.
    """
    kind, separator, _ = source.partition(":")
    if separator and kind in {"hf", "pypi"}:
        return
    try:
        path = Path(source).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):
        path = None
    folders = [Path(folder).expanduser().resolve() for folder in source_dirs]
    if path is not None and any(path.is_relative_to(folder) for folder in folders):
        return
    where = ", ".join(str(folder) for folder in folders) or "none; set c.NpuApp.source_dirs"
    raise PermissionDenied(
        f"{source!r} is not below a folder from which models may be imported ({where}). "
        "On the machine itself, `jupyter npu pull` takes any path.",
        param="source",
    )
