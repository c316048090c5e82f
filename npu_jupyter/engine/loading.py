"""One load in progress, however many wait for it: its stages, and how long they will take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum

from npu_jupyter.engine.model import LiveModel
from npu_jupyter.engine.stream import LoadingModel
from npu_jupyter.registry.records import ModelRecord

_MAX_PERCENT = 99.0


class Stage(StrEnum):
    """What a load goes through, in this order."""

    FIND = "find"
    READ = "read"
    COMPILE = "compile"
    WARM_UP = "warm_up"


class LoadInProgress:
    """A load that is running, shared by all who asked for the model."""

    def __init__(self, record: ModelRecord, on_stage: Callable[[LoadInProgress], None]) -> None:
        """Begin with the first stage."""
        self.record = record
        self.device = ""
        self.stage = Stage.FIND
        self.expected_s: dict[str, float] = {}
        """Seconds of each stage the last time, for this model and device."""
        self.reserved_bytes = 0
        """Memory that was found for the model and is not all taken yet."""
        self.task: asyncio.Task[LiveModel]
        self._on_stage = on_stage
        self._started = self._stage_started = time.monotonic()
        self.stage_s: dict[str, float] = {}
        """Seconds that each stage took this time."""

    @property
    def place(self) -> str:
        """Name what the times of a load depend on besides the model."""
        return f"{self.device}{'+adapters' if self.record.takes_adapters else ''}"

    def enter(self, stage: str) -> None:
        """Go on to the next stage."""
        now = time.monotonic()
        self.stage_s[self.stage] = now - self._stage_started
        self.stage, self._stage_started = Stage(stage), now
        self._on_stage(self)

    def finish(self) -> None:
        """Note how long the last stage took."""
        self.stage_s[self.stage] = time.monotonic() - self._stage_started

    def progress(self) -> LoadingModel:
        """Say how far the load is; percent and ETA only where an earlier load was measured."""
        total = sum(self.expected_s.values())
        if not total:
            return LoadingModel(self.stage, None, None)
        stages = list(Stage)
        before = stages[: stages.index(self.stage)]
        done = sum(self.expected_s.get(stage, 0.0) for stage in before)
        in_stage = time.monotonic() - self._stage_started
        done += min(in_stage, self.expected_s.get(self.stage, 0.0))
        return LoadingModel(self.stage, min(100 * done / total, _MAX_PERCENT), total - done)
