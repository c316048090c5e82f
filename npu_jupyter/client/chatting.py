"""A streamed chat: what the request waits for, then the text as it comes."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from npu_jupyter.client import calls
from npu_jupyter.client.answers import Note
from npu_jupyter.client.client import Client

_FEWEST_TOKENS_FOR_A_RATE = 8
_RUNNING_ON = "running on "


@dataclass(slots=True)
class Answer:
    """An answer as far as it has come."""

    text: str = ""
    waiting: str = ""
    """What it waits for, while nothing has come: ``loading compile 40%``, ``queued 3/17``."""
    device: str = ""
    tokens: int = 0
    """Known at the end."""
    first_token_s: float | None = None
    seconds: float = 0.0
    finish_reason: str | None = None

    def small_print(self, model: str) -> str:
        """Say who answered, how quickly, and why it ended early if it did."""
        told = [f"{model} on {self.device}" if self.device else model]
        if self.tokens >= _FEWEST_TOKENS_FOR_A_RATE and self.first_token_s is not None:
            rate = self.tokens / max(self.seconds, 1e-9)
            told += [f"{rate:.1f} tok/s", f"{self.first_token_s:.1f} s to the first"]
        if self.tokens:
            told.append(f"{self.tokens:,} tokens")
        if self.finish_reason == "length":
            told.append(f"stopped at {self.tokens:,} tokens")
        return " · ".join(told)


def chat(client: Client, body: dict[str, Any]) -> Generator[Answer]:
    """Send a chat and give its answer each time that more of it has come.

    Closing the generator ends the answer on the server.

    Raises:
        NpuError: that the server told of.
    """
    answer = Answer()
    started = time.perf_counter()
    call = calls.chat(body | {"stream": True, "stream_options": {"include_usage": True}})
    with closing(client.transport.stream(call)) as events:
        for event in events:
            if isinstance(event, Note):
                _note(answer, event.text)
            else:
                _take(answer, event.data)
                answer.seconds = time.perf_counter() - started
                if answer.text and answer.first_token_s is None:
                    answer.first_token_s = answer.seconds
            yield answer


def _note(answer: Answer, text: str) -> None:
    if text.startswith(_RUNNING_ON):
        answer.device, answer.waiting = text.removeprefix(_RUNNING_ON), ""
    else:
        answer.waiting = text


def _take(answer: Answer, chunk: dict[str, Any]) -> None:
    for choice in chunk["choices"]:
        answer.text += choice["delta"].get("content") or ""
        answer.finish_reason = choice["finish_reason"] or answer.finish_reason
    if chunk.get("usage"):
        answer.tokens = chunk["usage"]["completion_tokens"]
