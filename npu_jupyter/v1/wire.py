"""How an endpoint says what a model wrote: the chunks of a stream, and the whole answer."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from npu_jupyter.engine.messages import Delta, TokenLogprob

_encode = msgspec.json.encode


class Usage(msgspec.Struct):
    """Token counts, as the engine counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


@dataclass(slots=True)
class Choice:
    """All that one choice has become."""

    index: int
    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.texts)

    def take(self, delta: Delta) -> None:
        """Add what the choice gained."""
        self.texts.append(delta.text)
        self.logprobs.extend(delta.logprobs)
        self.finish_reason = delta.finish_reason or self.finish_reason


class Wire(ABC):
    """The answer to one request.

    All but a chunk's text is encoded once: chunks are made for every token of every caller.
    """

    id_prefix: ClassVar[str]
    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]
    around_text: ClassVar[tuple[bytes, bytes]]
    """JSON before and after the text in a chunk's choice."""
    without_text: ClassVar[bytes]

    def __init__(self, model: str, choices: int, *, logprobs: bool, include_usage: bool) -> None:
        """Encode what all chunks of an answer share."""
        self._wants_logprobs = logprobs
        self._facts = {
            "id": f"{self.id_prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }
        self._head = b"data: " + _encode({**self._facts, "object": self.chunk_object})[:-1]
        self._tail = (b',"usage":null' if include_usage else b"") + b"}\n\n"
        self._choice_heads = [
            self._head + b',"choices":[{"index":%d,' % index for index in range(choices)
        ]
        before, after = self.around_text
        self._text_heads = [head + before for head in self._choice_heads]
        self._text_tail = after + b',"logprobs":null,"finish_reason":null}]' + self._tail
        self._offsets = [0] * choices

    def opening(self) -> bytes:
        """Give the events before the first text."""
        return b""

    def events(self, deltas: list[Delta]) -> bytes:
        """Give a chunk for each choice that gained text, and one for each that ended."""
        chunks: list[bytes] = []
        for delta in _merged(deltas):
            if delta.logprobs:
                self._add_with_logprobs(chunks, delta)
            elif delta.text:
                chunks += self._text_heads[delta.index], _encode(delta.text), self._text_tail
            if delta.finish_reason:
                chunks += self._choice_heads[delta.index], self.without_text
                chunks += b',"logprobs":null,"finish_reason":', _encode(delta.finish_reason)
                chunks += b"}]", self._tail
        return b"".join(chunks)

    def _add_with_logprobs(self, chunks: list[bytes], delta: Delta) -> None:
        logprobs = self.logprobs(delta.logprobs, self._offsets[delta.index])
        self._offsets[delta.index] += sum(len(token.token) for token in delta.logprobs)
        chunks += self._text_heads[delta.index], _encode(delta.text), self.around_text[1]
        chunks += b',"logprobs":', _encode(logprobs), b',"finish_reason":null}]', self._tail

    def usage_event(self, usage: Usage) -> bytes:
        """Give the chunk without choices."""
        return self._head + b',"choices":[],"usage":' + _encode(usage) + b"}\n\n"

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
        """Give the answer that is not streamed."""
        return {
            **self._facts,
            "object": self.whole_object,
            "choices": [
                {
                    "index": choice.index,
                    **self.content(choice.text),
                    "logprobs": self.logprobs(choice.logprobs, 0) if self._wants_logprobs else None,
                    "finish_reason": choice.finish_reason,
                }
                for choice in choices
            ],
            "usage": usage,
        }

    @abstractmethod
    def content(self, text: str) -> dict[str, Any]:
        """Give the fields of a whole choice that hold its text."""

    @abstractmethod
    def logprobs(self, tokens: list[TokenLogprob], offset: int) -> dict[str, Any]:
        """Give the log probabilities of tokens whose text begins at `offset` characters."""


def _merged(deltas: list[Delta]) -> list[Delta]:
    """Join what each choice gained in several steps, so that a slow reader gets one event."""
    if len(deltas) == 1:
        return deltas
    choices: dict[int, Delta] = {}
    for delta in deltas:
        before = choices.get(delta.index)
        choices[delta.index] = delta if before is None else _joined(before, delta)
    return list(choices.values())


def _joined(before: Delta, after: Delta) -> Delta:
    return Delta(
        id=after.id,
        index=after.index,
        text=before.text + after.text,
        tokens=before.tokens + after.tokens,
        logprobs=[*before.logprobs, *after.logprobs],
        finish_reason=after.finish_reason or before.finish_reason,
    )
