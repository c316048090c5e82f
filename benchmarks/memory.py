"""Whether memory comes back when models are unloaded."""

from __future__ import annotations

import sys
import time

from figures import Figure
from models import Models
from server import Server
from texts import chats, sentences

ROUNDS = 30
_FIRST_ROUNDS = 3
_AT_MOST_PERCENT = 5.0
_PERCENT = 100
_MB = 1e6
_SETTLE_S = 0.5
"""A worker that was asked to end may take a moment to be gone from the process table."""


def run(models: Models, rounds: int) -> list[Figure]:
    """Load, use and unload both models again and again."""
    megabytes = []
    with Server(models.data_dir) as server:
        for i in range(max(rounds, _FIRST_ROUNDS + 1)):
            _use(models, server, i)
            time.sleep(_SETTLE_S)
            megabytes.append(round(server.memory_bytes() / _MB, 1))
            print(f"  after round {i + 1}: {megabytes[-1]} MB", file=sys.stderr)
    before = megabytes[_FIRST_ROUNDS - 1]
    figure = Figure(
        f"memory after {len(megabytes)} load/unload rounds, above that after {_FIRST_ROUNDS}",
        _PERCENT * (megabytes[-1] - before) / before,
        _AT_MOST_PERCENT,
        at_least=False,
        unit="%",
        samples=[_PERCENT * (m - before) / before for m in megabytes[_FIRST_ROUNDS:]],
        details={"megabytes": megabytes},
    )
    return [figure]


def _use(models: Models, server: Server, number: int) -> None:
    server.load(models.chat)
    server.stream(models.chat, chats(8, f"memory, round {number}"), 16)
    server.unload(models.chat)
    server.load(models.embedding)
    body = {"model": models.embedding.name, "input": sentences(64, f"memory, round {number}")}
    server.timed_post("/v1/embeddings", body)
    server.unload(models.embedding)
