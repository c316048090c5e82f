"""Embeddings per second of one large request, against the bare pipeline at its best."""

from __future__ import annotations

import statistics
import sys

from bare import BATCHINGS, BareProcess
from figures import Figure, median
from models import Models
from rounds import Round, interleaved
from server import Server
from texts import sentences

ROUNDS = 7
_SENTENCES = 512
_FINALISTS = 3
_AT_LEAST = 0.9


def run(models: Models, rounds: int) -> list[Figure]:
    """Try every batching of the bare pipeline, then race the quickest against us, in turns."""
    with Server(models.data_dir) as server, BareProcess(models.embedding) as bare:
        server.load(models.embedding)
        tried = _try_all(bare)
        finalists = sorted(tried, key=tried.__getitem__)[:_FINALISTS]
        races = {}
        for batching in finalists:

            def bare_s(texts: str, batching: str = batching) -> float:
                return bare.embed(sentences(_SENTENCES, texts), batching)

            def served_s(texts: str) -> float:
                return _served_s(models, server, sentences(_SENTENCES, texts))

            races[batching] = interleaved(bare_s, served_s, rounds, f"{batching}, s")
    best = min(races, key=lambda batching: _bare_s(races[batching]))
    figure = median(
        f"embeddings/s of the bare pipeline's best ({best})",
        [done.bare / done.served for done in races[best]],
        _AT_LEAST,
        at_least=True,
        unit="",
        details={"rounds_s": races, "tried_s": tried},
    )
    return [figure]


def _bare_s(race: list[Round]) -> float:
    return statistics.median(done.bare for done in race)


def _try_all(bare: BareProcess) -> dict[str, float]:
    """Time each batching on the same sentences, the better of two runs."""
    texts = sentences(_SENTENCES, "to choose")
    tried = {}
    for batching in BATCHINGS:
        tried[batching] = min(bare.embed(texts, batching) for _ in range(2))
        print(f"  {batching}: {tried[batching]:.3f} s", file=sys.stderr)
    return tried


def _served_s(models: Models, server: Server, texts: list[str]) -> float:
    """Time one request as OpenAI's SDKs send it, until the last byte of its answer."""
    body = {"model": models.embedding.name, "input": texts, "encoding_format": "base64"}
    seconds, reply = server.timed_post("/v1/embeddings", body)
    if len(reply["data"]) != len(texts):
        raise RuntimeError(f"{len(reply['data'])} embeddings came instead of {len(texts)}")
    return seconds
