"""Lines of a text file in whatever encoding it has, with nothing that cannot be read lost."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from npu_jupyter.errors import InvalidRequest

SAMPLE_BYTES = 4096
"""What is looked at of a file to tell text from other things."""
_CHUNK_BYTES = 1024 * 1024
_ESCAPED = re.compile("[\udc80-\udcff]")
"""What Python's surrogateescape makes of bytes that it cannot decode."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8 with a byte order mark", "cp1252": "Windows-1252"}


class TextFile:
    """A file of lines."""

    def __init__(self, path: Path) -> None:
        """Find out the encoding; raise `InvalidRequest` for what is no text."""
        self._path = path
        self._encoding = _detect(path)
        self._stream: Any = None

    @property
    def encoding(self) -> str:
        """The encoding's name, for people."""
        return _NAMES.get(self._encoding, self._encoding.upper())

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._stream.tell() if self._stream and not self._stream.closed else 0

    def lines(self) -> Iterator[str]:
        """Yield the lines from the first, each ended by a line feed whatever ended it."""
        # UTF-16 and its like know no escapes.
        errors = "surrogateescape" if self._encoding in _NAMES else "replace"
        with self._path.open(encoding=self._encoding, errors=errors) as text:
            self._stream = text.buffer
            yield from text

    def unreadable(self, text: str) -> bool:
        """Tell whether a text of this file had bytes that its encoding does not have."""
        if text.isascii():
            return False
        if self._encoding in _NAMES:
            return _ESCAPED.search(text) is not None
        return "\ufffd" in text


def wide_encoding(start: bytes, name: str) -> str | None:
    """Tell by a file's first bytes whether letters of more than a byte begin there.

    Raises:
        InvalidRequest: it is no text.
    """
    for bom, encoding in _BOMS:
        if start.startswith(bom):
            return encoding
    if b"\0" not in start:
        return None
    # Of plain letters in UTF-16 every other byte is 0.
    zeros = [start[offset::2].count(0) for offset in (0, 1)]
    if min(zeros) * 10 < max(zeros) and max(zeros) * 4 > len(start) // 2:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    raise InvalidRequest(
        f"{name} is neither text nor Parquet. Datasets can be JSON Lines, JSON, CSV, TSV, "
        "Parquet, plain text, or a folder that datasets' save_to_disk wrote.",
        param="dataset",
    )


def _detect(path: Path) -> str:
    with path.open("rb") as stream:
        wide = wide_encoding(stream.read(SAMPLE_BYTES), path.name)
    if wide is not None:
        return wide
    return "utf-8" if _is_utf8(path) else _detect_narrow(path)


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _detect_narrow(path: Path) -> str:
    """Tell UTF-8 with damaged lines from an encoding of one byte a letter.

    A file that holds letters beyond ASCII in proper UTF-8 is UTF-8, and its other lines are
    damaged; one that holds none is in the encoding of old Windows programs, which Latin-1 is
    part of.
    """
    with path.open("rb") as stream:
        for line in stream:
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                continue
            return "utf-8"
    return "cp1252"
