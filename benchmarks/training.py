"""Training against transformers' Trainer and TRL's SFTTrainer: speed, losses and memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, median
from models import Models
from texts import answered

from npu_jupyter.finetune.base import prepare_base
from npu_jupyter.finetune.datasets.rows import Message, Row, write_rows
from npu_jupyter.registry.records import PullProgress
from npu_jupyter.registry.store import Registry

ROUNDS = 3
_WAYS = ("ours", "plain", "trl")
_NAMES = {"plain": "Trainer's", "trl": "SFTTrainer's"}
_ROWS = 96
_TIMES_PLAIN = 2.5
_TIMES_TRL = 1.8
_LOSS_PERCENT = 2.0
_PERCENT = 100
_MIB = 2**20
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, slots=True)
class Trained:
    """What one run of one way gave."""

    tokens_per_s: float
    """Without padding."""
    tokens_per_cpu_s: float
    """For each second of processor time, which others do not take away."""
    losses: list[float]
    peak_bytes: int


def run(models: Models, rounds: int) -> list[Figure]:
    """Train in each way in turns, every run in a process of its own."""
    registry = Registry(data_dir=str(models.data_dir))
    base = prepare_base(registry, models.chat, _say).hugging_face
    registry.close()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        write_rows(
            rows,
            (
                Row(line, (Message("user", question), Message("assistant", answer)))
                for line, (question, answer) in enumerate(answered(_ROWS, "training"), start=1)
            ),
        )
        done = [_round(base, rows, first=i) for i in range(rounds)]
    return [
        _speed(done, "plain", _TIMES_PLAIN),
        _speed(done, "trl", _TIMES_TRL),
        *(figure for way in _NAMES for figure in (_losses(done, way), _memory(done, way))),
    ]


def _say(progress: PullProgress) -> None:
    print(f"  {progress.message}", file=sys.stderr)


def _round(base: Path, rows: Path, first: int) -> dict[str, Trained]:
    """Run each way once; another one is the first in the next round."""
    return {
        way: _train(way, base, rows)
        for way in (_WAYS[(first + i) % len(_WAYS)] for i in range(len(_WAYS)))
    }


def _train(way: str, base: Path, rows: Path) -> Trained:
    script = Path(__file__).with_name("trainers.py")
    command = [sys.executable, str(script), way, str(base), str(rows)]
    output = subprocess.run(
        command, env={**os.environ, **_ENVIRONMENT}, stdout=subprocess.PIPE, check=True
    )
    trained = Trained(**json.loads(output.stdout.splitlines()[-1]))
    print(
        f"  {way}: {trained.tokens_per_s:.0f} tokens/s, losses {trained.losses[0]:.3f} to "
        f"{trained.losses[-1]:.3f}, {trained.peak_bytes / _MIB:.0f} MiB",
        file=sys.stderr,
    )
    return trained


def _speed(done: list[dict[str, Trained]], way: str, target: float) -> Figure:
    return median(
        f"tokens/s of training, of {_NAMES[way]}",
        [this["ours"].tokens_per_s / this[way].tokens_per_s for this in done],
        target,
        at_least=True,
        unit="",
        details={
            name: [{way: getattr(trained, name) for way, trained in this.items()} for this in done]
            for name in ("tokens_per_s", "tokens_per_cpu_s")
        },
    )


def _losses(done: list[dict[str, Trained]], way: str) -> Figure:
    """Compare the curves step by step."""
    return median(
        f"mean difference of the losses from {_NAMES[way]}",
        [
            _PERCENT
            * statistics.mean(
                abs(one - other) / other
                for one, other in zip(this["ours"].losses, this[way].losses, strict=True)
            )
            for this in done
        ],
        _LOSS_PERCENT,
        at_least=False,
        unit="%",
        details={"losses": {name: trained.losses for name, trained in done[0].items()}},
    )


def _memory(done: list[dict[str, Trained]], way: str) -> Figure:
    return median(
        f"peak memory of training, of {_NAMES[way]}",
        [this["ours"].peak_bytes / this[way].peak_bytes for this in done],
        1.0,
        at_least=False,
        unit="",
        details={
            "peak_bytes": [
                {name: trained.peak_bytes for name, trained in this.items()} for this in done
            ]
        },
    )
