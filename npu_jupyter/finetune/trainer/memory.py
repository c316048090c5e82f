"""How much memory training takes and how much there is, on whatever it runs on."""

from __future__ import annotations

import ctypes
import sys
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

import psutil
import torch

_LOOK_S = 0.005


def free_bytes(device: str) -> int:
    """Measure what is free for this process to take in addition to what it has."""
    if device == "cpu":
        return int(psutil.virtual_memory().available)
    accelerator = getattr(torch, device)
    free, _ = accelerator.mem_get_info()
    cached = accelerator.memory_reserved() - accelerator.memory_allocated()
    return int(free + cached)


def give_back_freed() -> None:
    """Return to the system what was freed: glibc keeps it otherwise."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def used_bytes(device: str) -> int:
    """Measure what this process holds."""
    if device == "cpu":
        return int(psutil.Process().memory_info().rss)
    return int(getattr(torch, device).memory_allocated())


class Peak(AbstractContextManager["Peak"]):
    """Measures the most that this process holds within a block."""

    def __init__(self, device: str) -> None:
        """Watch the memory of `device`."""
        self._device = device
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> Self:
        if self._device == "cpu":
            self.bytes = used_bytes("cpu")
            self._thread.start()
        else:
            getattr(torch, self._device).reset_peak_memory_stats()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._device == "cpu":
            self._over.set()
            self._thread.join()
        else:
            self.bytes = getattr(torch, self._device).max_memory_allocated()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S):
            self.bytes = max(self.bytes, used_bytes("cpu"))
