"""Time to the first token of one caller, against the bare loop."""

from __future__ import annotations

from bare import BareProcess
from figures import Figure, median
from models import Models
from rounds import interleaved
from server import Server
from texts import chats

ROUNDS = 31
_NEW_TOKENS = 4
_AT_MOST_MS = 10.0
_MS = 1000


def run(models: Models, rounds: int) -> list[Figure]:
    """Compare short requests, in turns."""
    with Server(models.data_dir) as server, BareProcess(models.chat) as bare:
        server.load(models.chat)

        def bare_s(prompt: str) -> float:
            return bare.generate(chats(1, prompt), _NEW_TOKENS).first_token_s

        def served_s(prompt: str) -> float:
            return server.stream(models.chat, chats(1, prompt), _NEW_TOKENS).first_token_s

        bare_times, served_times = interleaved(bare_s, served_s, rounds, "first token, s")
    figure = median(
        "time to first token above the bare loop's, one caller",
        [_MS * (served - alone) for alone, served in zip(bare_times, served_times, strict=True)],
        _AT_MOST_MS,
        at_least=False,
        unit="ms",
        details={"bare_s": bare_times, "served_s": served_times},
    )
    return [figure]
