"""Continuous batching for the adapters of one base, which take turns.

openvino_genai applies an adapter to all that a pipeline runs: only ``generate()`` takes one, and
what it sets stays until the next ``generate()``. So requests for one adapter run together, and
the next adapter's turn comes when they are done, or have had their time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openvino_genai as genai

from npu_jupyter.engine.messages import Failed, Generate, Load, Output
from npu_jupyter.engine.worker.adapters import adapter_config, placeholder
from npu_jupyter.engine.worker.batching import Choice, ContinuousBatching
from npu_jupyter.engine.worker.tokenizer import tensor
from npu_jupyter.errors import NpuError

_TURN_S = 4.0
"""Seconds that an adapter's requests run while others wait. To interrupt costs reading their
prompts again."""


@dataclass(eq=False)
class _Turn:
    """What waits for one adapter."""

    adapter: str
    requests: deque[Generate] = field(default_factory=deque)
    interrupted: list[Choice] = field(default_factory=list)


class AdapterBatching(ContinuousBatching):
    """A stepped pipeline, and requests for several adapters."""

    def __init__(
        self, load: Load, context_length: int, send: Callable[[list[Output]], None]
    ) -> None:
        """Read and compile the model so that any adapter can be applied later."""
        self._turns: dict[str, _Turn] = {}
        """By adapter, the longest waiting first; the one that runs is not among them."""
        self._adapter: str | None = ""
        """The adapter that is set; empty for the base alone, None when that is not known."""
        self._turn_ends = 0.0
        super().__init__(load, context_length, send)

    def _properties(self) -> dict[str, Any]:
        """Have the pipeline compiled for adapters."""
        return {**self._load.properties, "adapters": placeholder(self._load.path)}

    def _build(self) -> None:
        super()._build()
        if self._adapter:
            self._apply(self._adapter)

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._turns) or super().busy

    def add(self, request: Generate) -> None:
        """Take a request; it runs when its adapter has its turn.

        Raises:
            NpuError: when the request cannot be run.
        """
        if request.adapter == self._adapter and not self._turns:
            super().add(request)
        else:
            self._turn_of(request.adapter).requests.append(request)

    def _turn_of(self, adapter: str) -> _Turn:
        if not self._turns:
            self._turn_ends = time.monotonic() + _TURN_S
        return self._turns.setdefault(adapter, _Turn(adapter))

    def cancel(self, request: int) -> None:
        """Forget a request, wherever it is."""
        super().cancel(request)
        for turn in self._turns.values():
            turn.requests = deque(entry for entry in turn.requests if entry.id != request)
            turn.interrupted = [c for c in turn.interrupted if c.request != request]
        self._turns = {
            adapter: turn
            for adapter, turn in self._turns.items()
            if turn.requests or turn.interrupted
        }

    def step(self) -> None:
        """Move on the requests whose turn it is."""
        if self._turns and self._turn_is_over():
            self._interrupt()
            self._next_turn()
        if super().busy:
            super().step()

    def _turn_is_over(self) -> bool:
        if not self._choices:
            return True
        # A grammar cannot go on in the middle of an answer: it would begin anew there.
        bound = any(choice.schema for choice in self._choices.values())
        return time.monotonic() >= self._turn_ends and not bound

    def _interrupt(self) -> None:
        """Take out what runs, to go on with it in its adapter's next turn."""
        if not self._choices:
            return
        self._flush()
        assert self._adapter is not None
        turn = self._turns.pop(self._adapter, None) or _Turn(self._adapter)
        self._turns[self._adapter] = turn  # at the end of the line
        for choice in self._choices.values():
            assert choice.handle is not None
            choice.handle.cancel()
            turn.interrupted.append(choice)
        self._choices.clear()
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()

    def _next_turn(self) -> None:
        turn = self._turns.pop(next(iter(self._turns)))
        try:
            self._apply(turn.adapter)
        except NpuError as error:
            waiting = {entry.id for entry in turn.requests}
            waiting |= {choice.request for choice in turn.interrupted}
            name = type(error).__name__
            self._send([Failed(request, name, error.message) for request in sorted(waiting)])
            return
        self._turn_ends = time.monotonic() + _TURN_S
        for choice in turn.interrupted:
            self._start(choice)
        for request in turn.requests:
            try:
                super().add(request)
            except NpuError as error:
                name = type(error).__name__
                self._send([Failed(request.id, name, error.message, error.param)])

    def _apply(self, adapter: str) -> None:
        """Set the adapter for all that follows: nothing may run meanwhile.

        Raises:
            LoadFailed: when its file cannot be read.
        """
        config = genai.GenerationConfig()
        config.max_new_tokens = 1
        self._adapter = None
        config.adapters = adapter_config(adapter)
        self._pipeline.generate([tensor(self.tokenizer.encode("Hello"))], [config])
        self._adapter = adapter
