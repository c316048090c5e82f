"""Time to the first token of one caller, against the bare loop."""

from __future__ import annotations

import statistics

from bare import BareProcess
from figures import Figure, median
from models import Models
from rounds import interleaved
from server import Server
from texts import chats

ROUNDS = 11
_REQUESTS = 7
"""One after the other; a round's value is their median."""
_NEW_TOKENS = 4
_AT_MOST_MS = 10.0
_MS = 1000


def run(models: Models, rounds: int) -> list[Figure]:
    """Compare short requests, in turns."""
    with Server(models.data_dir) as server, BareProcess(models.chat) as bare:
        server.load(models.chat)

        def bare_s(seed: str) -> float:
            return statistics.median(
                bare.generate([chat], _NEW_TOKENS).first_token_s for chat in chats(_REQUESTS, seed)
            )

        def served_s(seed: str) -> float:
            return statistics.median(
                server.stream(models.chat, [chat], _NEW_TOKENS).first_token_s
                for chat in chats(_REQUESTS, seed)
            )

        measured = interleaved(bare_s, served_s, rounds, "first token, s")
    figure = median(
        "time to first token above the bare loop's, one caller",
        [_MS * (done.served - done.bare) for done in measured],
        _AT_MOST_MS,
        at_least=False,
        unit="ms",
        details={"rounds_s": measured},
    )
    return [figure]
