"""Training gives way to inference: it pauses between micro-batches while requests wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_LOOK_S = 0.05
_ASK_S = 1.0
BUSY_FILE = "inference.busy"
"""Below ``<data_dir>/jobs``: holds the unix time until which servers want the cores."""


class Pause:
    """Waits while a server is busy."""

    def __init__(self, file: Path, ended: Callable[[], bool]) -> None:
        """Look at `file`, which need not be there; `ended` tells that there is no more to do."""
        self._file = file
        self._ended = ended

    def wait(self) -> None:
        """Return once no server wants the cores, or training is to end."""
        asked = time.monotonic()
        while time.time() < self._until():
            time.sleep(_LOOK_S)
            if time.monotonic() - asked > _ASK_S:
                if self._ended():
                    return
                asked = time.monotonic()

    def _until(self) -> float:
        try:
            return float(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or being written
            return 0.0
