"""From token ids to text, as they come: whole characters only, and nothing past a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_INCOMPLETE = "\ufffd"
_MAX_INCOMPLETE_TOKENS = 4  # no character takes more bytes, and a token has at least one


class Decoder(Protocol):
    """What turns many rows of token ids into texts in one call."""

    def __call__(self, rows: list[list[int]]) -> list[str]:
        """Decode each row on its own."""


class StopFilter:
    """Holds back text that may be the start of a stop string, and ends at the first one."""

    def __init__(self, stop: Sequence[str]) -> None:
        """Watch for any of `stop`."""
        self._stop = stop
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Take new text and give back what is sure to belong to the answer."""
        if not self._stop:
            return text
        text = self._held + text
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        keep = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Give back what was held: the answer ended without a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Count the characters at the end of `text` with which `stop` begins."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


class TextStream:
    """The text of one choice.

    A token may be part of a character, and a tokenizer may join tokens with or without a space,
    so new text is the difference between decoding a few tokens with and without the new ones.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        """Start with no tokens."""
        self._filter = StopFilter(stop)
        self._context: list[int] = []
        self._new: list[int] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._filter.stopped

    def add(self, ids: Sequence[int]) -> None:
        """Take tokens; their text comes with the next `advance`."""
        self._new.extend(ids)

    @property
    def rows(self) -> list[list[int]]:
        """Give the rows to decode: what is known, and what is known with the new tokens."""
        return [self._context, self._context + self._new]

    def advance(self, before: str, after: str, *, last: bool) -> str:
        """Give the new text from the decoded `rows`; empty while a character is incomplete."""
        # Half a character decodes to a replacement mark or to nothing, as the tokenizer likes.
        incomplete = after.endswith(_INCOMPLETE) or len(after) <= len(before)
        text = ""
        if last or not incomplete or len(self._new) > _MAX_INCOMPLETE_TOKENS:
            text = after[len(before) :]
            self._context, self._new = self._new or self._context, []
        text = self._filter.push(text) if text else ""
        if last and not self.stopped:
            text += self._filter.flush()
        return text


def advance_all(streams: Sequence[tuple[TextStream, bool]], decode: Decoder) -> list[str]:
    """Advance many streams, each with whether it is its last time, by one call of `decode`."""
    texts = decode([row for stream, _ in streams for row in stream.rows])
    return [
        stream.advance(texts[2 * i], texts[2 * i + 1], last=last)
        for i, (stream, last) in enumerate(streams)
    ]
