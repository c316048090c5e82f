"""Time to the first token of a chat while a model is trained beside it, against a quiet machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from figures import Figure, median
from models import Models
from server import Server
from texts import chats

ROUNDS = 3
_REQUESTS = 40
"""Of each round and side, one after the other."""
_PAUSE_S = 0.2
"""Between two requests, as a person leaves one."""
_NEW_TOKENS = 8
_AT_MOST = 2.0
_START_TIMEOUT_S = 600
_ROWS = Path(__file__).parents[1] / "notebooks" / "data" / "harbour.jsonl"
_DATASET = "benchmark-neighbours.jsonl"
_PERCENTILES = 20
"""Whose last is the 95th."""


def run(models: Models, rounds: int) -> list[Figure]:
    """Chat without and with a job that trains, in turns."""
    with Server(models.data_dir) as server:
        server.load(models.chat)
        server.put(f"/api/npu/datasets/{_DATASET}", _ROWS.read_bytes())
        ratios, details = [], []
        for number in range(rounds):
            quiet_s = _p95_s(models, server, f"quiet {number}")
            with _training(models, server):
                busy_s = _p95_s(models, server, f"busy {number}")
            print(
                f"  p95 of the first token: {quiet_s:.3f} s quiet, {busy_s:.3f} s beside training"
            )
            ratios.append(busy_s / quiet_s)
            details.append({"quiet_s": quiet_s, "busy_s": busy_s})
    figure = median(
        "p95 time to first token beside training, of that without",
        ratios,
        _AT_MOST,
        at_least=False,
        unit="",
        details={"rounds": details, "requests": _REQUESTS},
    )
    return [figure]


def _p95_s(models: Models, server: Server, seed: str) -> float:
    times = []
    for chat in chats(_REQUESTS, seed):
        times.append(server.stream(models.chat, [chat], _NEW_TOKENS).first_token_s)
        time.sleep(_PAUSE_S)
    return statistics.quantiles(times, n=_PERCENTILES)[-1]


@contextmanager
def _training(models: Models, server: Server) -> Iterator[None]:
    """Have a job train, longer than anybody measures."""
    job_id = server.post(
        "/api/finetune/start",
        {
            "model_id": models.chat.id,
            "dataset": _DATASET,
            "epochs": 1000,
            "batch_size": 16,
            "save_steps": 1000,
            "eval_split": 0,
        },
    )["job_id"]
    deadline = time.monotonic() + _START_TIMEOUT_S
    while server.get(f"/api/finetune/status/{job_id}")["current_step"] < 1:
        if time.monotonic() > deadline:
            raise RuntimeError("The job did not get to its first step.")
        time.sleep(1)
    try:
        yield
    finally:
        server.post(f"/api/finetune/stop/{job_id}", {})
        while server.get(f"/api/finetune/status/{job_id}")["status"] != "stopped":
            time.sleep(1)
        server.delete(f"/api/finetune/jobs/{job_id}")
