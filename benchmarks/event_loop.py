"""How long the Jupyter Server's event loop stalls while it streams to many callers."""

from __future__ import annotations

import sys

from figures import Figure
from models import Models
from server import EXTENSION, Server
from texts import chats

ROUNDS = 7
_CALLERS = 32
_NEW_TOKENS = 128
_AT_MOST_MS = 50.0
_MS = 1000
_STALL = "/benchmark/stall"


def run(models: Models, rounds: int) -> list[Figure]:
    """Give the longest stall of all rounds; the first loads the model."""
    stalls_ms = []
    with Server(models.data_dir, extensions=(EXTENSION, "ticker")) as server:
        for i in range(rounds):
            server.get(_STALL)
            server.stream(models.chat, chats(_CALLERS, f"stall, round {i}"), _NEW_TOKENS)
            stalls_ms.append(_MS * float(server.get(_STALL)["longest_s"]))
            print(f"  longest stall: {stalls_ms[-1]:.1f} ms", file=sys.stderr)
    figure = Figure(
        f"longest stall of the server's event loop, {_CALLERS} streams",
        max(stalls_ms),
        _AT_MOST_MS,
        at_least=False,
        unit="ms",
        samples=stalls_ms,
    )
    return [figure]
