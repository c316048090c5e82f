"""What a job will take, from a few real steps: told before it trains, or why it cannot.

The steps' gradients are thrown away and the random state is put back: the model that is trained
afterwards is the one that was there before.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from npu_jupyter.errors import InsufficientMemory
from npu_jupyter.finetune.recipe import Recipe
from npu_jupyter.finetune.trainer.batches import Layout
from npu_jupyter.finetune.trainer.examples import Examples
from npu_jupyter.finetune.trainer.loss import summed_loss
from npu_jupyter.finetune.trainer.memory import Peak, free_bytes, used_bytes
from npu_jupyter.finetune.trainer.model import Compute

_GB = 1e9
_PLANNED_STEPS = 1000
"""Of the first epoch: enough to know what the others hold."""
_MARGIN = 1.1
"""Measured memory, times this, is what has to be free."""
_ADAM_BYTES = 8
"""Two moments in float32 for each weight that is trained."""
_WEIGHT_BYTES = 4
_CHECKPOINTS = 4
"""Two that are kept, the best, and the one that is being written."""
_ROUNDED_TO = 32


@dataclass(frozen=True, slots=True)
class Measured:
    """One micro-batch that was computed."""

    tokens: int
    seconds: float
    memory_bytes: int
    """Above what the loaded model takes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What training takes."""

    seconds: float
    memory_bytes: int
    """At its peak, above what the loaded model takes."""
    available_bytes: int
    disk_bytes: int
    longest_example: int
    gradient_checkpointing: bool
    device: str
    precision: str
    measured: list[Measured]
    """The shortest, a middle and the longest micro-batch."""

    def to_dict(self) -> dict[str, Any]:
        """Give it as the job keeps it."""
        return asdict(self)


class Estimator:
    """Measures steps of a model that is ready to train."""

    def __init__(
        self,
        model: Any,
        examples: Examples,
        recipe: Recipe,
        *,
        compute: Compute,
        layout: Layout,
        available_bytes: int | None = None,
    ) -> None:
        """Measure `model` on `examples`; it may take `available_bytes`, else what is free."""
        self._model = model
        self._examples = examples
        self._recipe = recipe
        self._compute = compute
        self._layout = layout
        self._before = used_bytes(compute.device)
        self._available = available_bytes or free_bytes(compute.device)
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        self._optimizer_bytes = trained * _ADAM_BYTES
        self.disk_bytes = trained * (_ADAM_BYTES + _WEIGHT_BYTES) * _CHECKPOINTS

    def run(self, steps: Sequence[list[int]], total_steps: int) -> Estimate:
        """Estimate `total_steps` steps like `steps`, the first epoch's; make them fit.

        Shorter packed rows are tried first, as they cost nothing, then gradient checkpointing.

        Raises:
            InsufficientMemory: when nothing does, with the numbers and what would.
        """
        longest = int(max(self._examples.lengths[index] for step in steps for index in step))
        ways = [(self._layout.room, False), (longest, False), (longest, True)]
        for room, checkpointing in dict.fromkeys(ways):
            self._layout.room = room
            if checkpointing:
                self._model.gradient_checkpointing_enable()
            groups = self._plan(steps)
            measured = self._measure(groups)
            need = self._need(measured, max(map(self._tokens, groups)))
            if need <= self._available:
                break
        else:
            raise self._does_not_fit(need, longest)
        planned_s = _seconds(measured, [self._tokens(group) for group in groups])
        return Estimate(
            seconds=round(planned_s * total_steps / min(len(steps), _PLANNED_STEPS), 1),
            memory_bytes=need,
            available_bytes=self._available,
            disk_bytes=self.disk_bytes,
            longest_example=longest,
            gradient_checkpointing=checkpointing,
            device=self._compute.device,
            precision=self._compute.precision,
            measured=measured,
        )

    def _plan(self, steps: Sequence[list[int]]) -> list[list[int]]:
        """Give the examples of every micro-batch, those with the most tokens last."""
        lengths = self._examples.lengths
        groups = [
            [step[index] for index in group]
            for step in steps[:_PLANNED_STEPS]
            for group in self._layout.groups([int(lengths[index]) for index in step])
        ]
        return sorted(groups, key=self._tokens)

    def _tokens(self, group: Sequence[int]) -> int:
        """Count what the model computes for a micro-batch, padding included."""
        lengths = self._examples.lengths[list(group)]
        return int(lengths.sum() if self._layout.packing else lengths.max() * len(group))

    def _measure(self, groups: Sequence[list[int]]) -> list[Measured]:
        """Compute the shortest, a middle and the longest, but none that cannot fit."""
        shortest, middle, longest = groups[0], groups[len(groups) // 2], groups[-1]
        self._compute_one(shortest)  # what is done once only is not to count
        measured = [self._compute_one(shortest), self._compute_one(middle)]
        if self._need(measured, self._tokens(longest)) <= self._available:
            measured.append(self._compute_one(longest))
        return measured

    def _compute_one(self, group: Sequence[int]) -> Measured:
        examples = [self._examples[index] for index in group]
        devices: list[int] | None = [] if self._compute.device == "cpu" else None
        model = self._model
        model.train()
        with torch.random.fork_rng(devices), Peak(self._compute.device) as peak:
            began = time.monotonic()
            for batch in self._layout(examples):
                with self._compute.autocast():
                    loss = summed_loss(model, batch.to(model.device)) / batch.learned
                loss.backward()  # type: ignore[no-untyped-call]
            seconds = time.monotonic() - began
        model.zero_grad(set_to_none=True)
        return Measured(self._tokens(group), seconds, max(peak.bytes - self._before, 0))

    def _need(self, measured: Sequence[Measured], tokens: int) -> int:
        """Tell what training takes when its largest micro-batch has `tokens` tokens."""
        most = max(measured, key=lambda one: one.memory_bytes)
        activations = most.memory_bytes * max(tokens / most.tokens, 1.0)
        return int((activations + self._optimizer_bytes) * _MARGIN)

    def _does_not_fit(self, need: int, longest: int) -> InsufficientMemory:
        recipe = self._recipe
        activations = need - self._optimizer_bytes * _MARGIN
        room = self._available - self._optimizer_bytes * _MARGIN
        advice = []
        rows = 1 if self._layout.packing else min(recipe.batch_size, len(self._examples))
        if rows > 1:
            advice.append(f"batch_size (it is {recipe.batch_size}) to 1, packing to true")
        fitting = int(longest * room / activations) // _ROUNDED_TO * _ROUNDED_TO
        if fitting >= _ROUNDED_TO:
            advice.append(f"max_length to {fitting} (the longest example has {longest} tokens)")
        if recipe.use_lora and not recipe.quantize_base:
            advice.append("quantize_base to true, which holds the base in a quarter of the memory")
        if not recipe.use_lora:
            advice.append("use_lora to true")
        chosen = ", or ".join(advice) or "lora_r lower, or train a smaller model"
        return InsufficientMemory(
            f"Training needs about {need / _GB:.2f} GB more than the loaded model takes, even with "
            f"gradient checkpointing, and {self._available / _GB:.2f} GB are free. Set {chosen}."
        )


def _seconds(measured: Sequence[Measured], planned: Sequence[int]) -> float:
    """Estimate the time of `planned` micro-batches, given by tokens, from those measured."""
    tokens = np.array([one.tokens for one in measured], dtype=float)
    seconds = np.array([one.seconds for one in measured])
    slope, base = seconds.sum() / tokens.sum(), 0.0
    if np.ptp(tokens) > 0:
        fitted_slope, fitted_base = np.polyfit(tokens, seconds, 1)
        if fitted_slope > 0 and fitted_base > 0:
            slope, base = fitted_slope, fitted_base
    return float(base * len(planned) + slope * sum(planned))
