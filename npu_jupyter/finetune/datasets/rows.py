"""Rows in normal form: what every format becomes, and what a job's snapshot holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from npu_jupyter.errors import InvalidRequest


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a chat."""

    role: str
    content: str
    weight: int = 1
    """0 keeps what an assistant says from being learned, as OpenAI has it."""

    @property
    def learned(self) -> bool:
        """Whether this is an answer to learn."""
        return self.role == "assistant" and self.weight > 0


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One example: a chat, a prompt with its completion, or a text."""

    line: int
    """Line or row of the source, from 1."""
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None


class BadRow(InvalidRequest):
    """A row that nothing can be learned from, and why."""

    def __init__(self, line: int, reason: str) -> None:
        """Name the line of the source and say what is wrong with it."""
        super().__init__(f"Line {line}: {reason}", param="dataset")
        self.line = line
        self.reason = reason


def read_rows(path: Path) -> Iterator[Row]:
    """Read a file in normal form, row by row."""
    decoder = msgspec.json.Decoder(Row)
    with path.open("rb") as stream:
        for line in stream:
            yield decoder.decode(line)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a file in normal form."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as stream:
        for row in rows:
            stream.write(encoder.encode(row) + b"\n")
