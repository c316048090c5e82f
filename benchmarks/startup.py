"""What the extension adds to the start of Jupyter Server and to its memory."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, median
from models import Models
from server import EXTENSION, Server

ROUNDS = 11
_AT_MOST_S = 0.2
_AT_MOST_MB = 40.0
_MB = 1e6
_SETTLE_S = 1.0
"""What is begun at the start may take a moment to show in memory."""


def run(models: Models, rounds: int) -> list[Figure]:  # noqa: ARG001 - no model is asked for
    """Start servers with and without the extension, in turns."""
    seconds, megabytes = [], []
    with tempfile.TemporaryDirectory() as empty:
        for i in range(rounds + 1):
            started: dict[bool, tuple[float, float]] = {}
            for extended in (True, False) if i % 2 else (False, True):
                started[extended] = _start(Path(empty), extended=extended)
            if i:  # the first starts read everything from disk
                seconds.append(started[True][0] - started[False][0])
                megabytes.append(started[True][1] - started[False][1])
                print(f"  {started[False]} without, {started[True]} with", file=sys.stderr)
    return [
        median("added to server start", seconds, _AT_MOST_S, at_least=False, unit="s"),
        median(
            "added to the server's memory before the first request",
            megabytes,
            _AT_MOST_MB,
            at_least=False,
            unit="MB",
        ),
    ]


def _start(data_dir: Path, *, extended: bool) -> tuple[float, float]:
    """Start a server and stop it; return the seconds until it answered, and its megabytes."""
    with Server(data_dir, extensions=(EXTENSION,) if extended else ()) as server:
        time.sleep(_SETTLE_S)
        megabytes = server.memory_bytes() / _MB
        if server.has("/health") is not extended:
            raise RuntimeError("The extension is there without being asked for, or the reverse.")
        return round(server.start_s, 3), round(megabytes, 1)
