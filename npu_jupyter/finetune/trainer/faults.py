"""Faults on purpose, so that tests can see what is left after a kill at the worst moment.

Only a test puts ``faults`` into the line that the trainer reads; nothing in the product does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

_KILLED = 137


class Faults:
    """What is to go wrong, by the point where it does: ``{"checkpoint:4": "kill"}``."""

    def __init__(self, wanted: Mapping[str, str]) -> None:
        """Plan `wanted`: ``kill`` ends the process as kill -9 does, ``disk_full`` fails a write."""
        self._wanted = wanted

    def reach(self, point: str, step: int | None = None) -> None:
        """Fail here, if that is planned for this point (and step)."""
        match self._wanted.get(point if step is None else f"{point}:{step}"):
            case "kill":
                os._exit(_KILLED)
            case "disk_full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case _:
                pass
