"""A model that is loaded: its worker, its lane and what is told of it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from npu_jupyter.engine import process
from npu_jupyter.engine.lane import Lane
from npu_jupyter.engine.messages import Delta, Embed, Generate, Loaded, Output
from npu_jupyter.engine.runner import Runner
from npu_jupyter.registry.records import ModelRecord


class ModelStatus(StrEnum):
    """Where a model is between disk and device."""

    REGISTERED = "registered"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    SLEEPING = "sleeping"
    """Unloaded because nobody used it; the next request wakes it."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What is told of a model that is in memory, or on its way there."""

    name: str
    type: str
    device: str
    status: ModelStatus
    loaded_at: int
    """Unix time in seconds; 0 while loading."""
    uptime_seconds: float
    memory_bytes: int
    requests_running: int
    requests_waiting: int
    max_running: int
    """Sequences that run at once; what is sent beyond that waits in line."""
    last_used: float
    """Unix time in seconds."""
    pinned: bool
    keep_alive_s: float
    """Seconds without a request until it is unloaded; 0 is never."""
    context_length: int
    tokens_generated: int = 0
    already_loaded: bool = False


class LiveModel:
    """A model in memory."""

    def __init__(
        self,
        record: ModelRecord,
        runner: Runner,
        lane: Lane,
        info: Loaded,
        *,
        keep_alive_s: float,
        pinned: bool,
    ) -> None:
        """Take over a worker that is ready."""
        self.record = record
        self.runner = runner
        self.lane = lane
        self.info = info
        self.keep_alive_s = keep_alive_s
        self.pinned = pinned
        self.status = ModelStatus.LOADED
        self.loaded_at = time.time()
        self.last_used = self.loaded_at
        self.tokens_generated = 0

    @property
    def busy(self) -> bool:
        """Whether anyone waits for it or runs in it."""
        return bool(self.lane.running or self.lane.waiting)

    @property
    def idle_s(self) -> float:
        """Measure how long nobody has used it."""
        return 0.0 if self.busy else time.time() - self.last_used

    @property
    def memory_bytes(self) -> int:
        """Measure the resident memory of its worker."""
        return process.memory_bytes(self.runner.pid)

    async def run(
        self, request: Generate | Embed, timeout_s: float
    ) -> AsyncGenerator[list[Output]]:
        """Run a request that was admitted.

        Raises:
            NpuError: of the kind that the worker named, or DeadlineExceeded.
        """
        try:
            async with aclosing(self.runner.run(request, timeout_s)) as steps:
                async for outputs in steps:
                    for output in outputs:
                        if isinstance(output, Delta):
                            self.tokens_generated += output.tokens
                    yield outputs
        finally:
            self.last_used = time.time()

    def describe(self, *, already_loaded: bool = False) -> LoadedModel:
        """Give the facts as of now."""
        return LoadedModel(
            name=self.record.name,
            type=self.record.type,
            device=self.info.device,
            status=self.status,
            loaded_at=int(self.loaded_at),
            uptime_seconds=round(time.time() - self.loaded_at, 1),
            memory_bytes=self.memory_bytes,
            requests_running=self.lane.running,
            requests_waiting=self.lane.waiting,
            max_running=self.lane.limits.max_running,
            last_used=self.last_used,
            pinned=self.pinned,
            keep_alive_s=self.keep_alive_s,
            context_length=self.info.context_length,
            tokens_generated=self.tokens_generated,
            already_loaded=already_loaded,
        )
