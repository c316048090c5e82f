"""``Series.npu.classify`` on short rows, against the bare loop for the same prompts."""

from __future__ import annotations

import json
import time

import pandas as pd
from bare import BareProcess
from figures import Figure, median
from models import Models
from rounds import interleaved
from server import Server
from texts import sentences

import npu_jupyter as npu
from npu_jupyter.client.rows.tasks import Classify

ROUNDS = 3
_ROWS = 500
_LONGEST_WORDS = 20
_LABELS = ["bug", "praise", "question"]
_AT_MOST = 1.2


def run(models: Models, rounds: int) -> list[Figure]:
    """Label the same rows both ways, in turns."""
    with Server(models.data_dir) as server, BareProcess(models.chat) as bare:
        server.load(models.chat)
        with npu.connect(f"http://127.0.0.1:{server.port}", server.token) as client:
            task = Classify(client.model(models.chat.name), _LABELS, None, {})

            def bare_s(seed: str) -> float:
                asked = [task.call([text]).json or {} for text in _rows(seed)]
                schema = asked[0]["response_format"]["json_schema"]["schema"]
                chats = [body["messages"] for body in asked]
                return bare.generate(chats, asked[0]["max_tokens"], json.dumps(schema)).seconds

            def served_s(seed: str) -> float:
                rows = pd.Series(_rows(seed))
                started = time.perf_counter()
                labels = rows.npu.classify(_LABELS, model=models.chat.name, cache=False)
                seconds = time.perf_counter() - started
                if not labels.isin(_LABELS).all():
                    raise RuntimeError(f"Not every row has a label: {labels.npu.errors}")
                return seconds

            measured = interleaved(bare_s, served_s, rounds, f"{_ROWS} rows, s")
    figure = median(
        f"Series.npu.classify of {_ROWS} short rows, of the bare loop's time",
        [done.served / done.bare for done in measured],
        _AT_MOST,
        at_least=False,
        unit="",
        details={"rounds_s": measured},
    )
    return [figure]


def _rows(seed: str) -> list[str]:
    return [" ".join(text.split()[:_LONGEST_WORDS]) for text in sentences(_ROWS, seed)]
