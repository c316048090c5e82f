"""Streamed tokens per second through HTTP, against the bare loop."""

from __future__ import annotations

from bare import BareProcess
from figures import Figure, median
from models import Models
from rounds import interleaved
from server import Server
from texts import chats

ROUNDS = 9
_CALLERS = (1, 8, 32)
_NEW_TOKENS = 128
_AT_LEAST = 0.95


def run(models: Models, rounds: int) -> list[Figure]:
    """Compare both with 1, 8 and 32 requests at once, in turns."""
    with Server(models.data_dir) as server, BareProcess(models.chat) as bare:
        server.load(models.chat)
        return [_figure(models, server, bare, callers, rounds) for callers in _CALLERS]


def _figure(models: Models, server: Server, bare: BareProcess, callers: int, rounds: int) -> Figure:
    def bare_rate(prompts: str) -> float:
        done = bare.generate(chats(callers, prompts), _NEW_TOKENS)
        return _rate(done.tokens, done.seconds, callers)

    def served_rate(prompts: str) -> float:
        done = server.stream(models.chat, chats(callers, prompts), _NEW_TOKENS)
        return _rate(done.tokens, done.seconds, callers)

    measured = interleaved(bare_rate, served_rate, rounds, f"{callers} at once, tokens/s")
    return median(
        f"streamed tokens/s of the bare loop's, {callers} at once",
        [done.served / done.bare for done in measured],
        _AT_LEAST,
        at_least=True,
        unit="",
        details={"rounds_tokens_per_s": measured, "new_tokens": _NEW_TOKENS},
    )


def _rate(tokens: int, seconds: float, callers: int) -> float:
    """Give tokens per second, of a run that did all that it was asked to."""
    if tokens != callers * _NEW_TOKENS:
        raise RuntimeError(f"{tokens} tokens came instead of {callers * _NEW_TOKENS}")
    return tokens / seconds
