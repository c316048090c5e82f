"""Records out of files: each a mapping of columns to values, with the line that it came from."""

from __future__ import annotations

import csv
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from npu_jupyter.errors import InvalidRequest
from npu_jupyter.finetune.datasets.rows import BadRow
from npu_jupyter.finetune.datasets.text_file import TextFile

_MAX_JSON_BYTES = 512 * 1024 * 1024
"""JSON is read as a whole."""
_LIST_KEYS = ("data", "rows", "train")
_BATCH_ROWS = 1024

Record = tuple[int, dict[str, Any]]


class Container(StrEnum):
    """How records are laid down."""

    JSON_LINES = "jsonl"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    ARROW = "arrow"
    TEXT = "txt"
    HUB = "hub"


class Reader(ABC):
    """Reads one dataset, as often as it is asked to, without holding it in memory."""

    container: Container
    unit = "line"
    """What the numbers count."""
    encoding: str | None = None
    """That of a text, for people."""

    @abstractmethod
    def records(self) -> Iterator[Record | BadRow]:
        """Yield the records from the first, and what cannot be read as one."""

    @property
    def position(self) -> int:
        """Bytes read so far, where that is known."""
        return 0


class _TextReader(Reader):
    """Reads what is made of lines."""

    def __init__(self, file: TextFile) -> None:
        """Read `file`."""
        self._file = file
        self.encoding = file.encoding

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._file.position

    def _undecoded(self, line: int) -> BadRow:
        return BadRow(line, f"it has bytes that are no {self.encoding}")


class JsonLines(_TextReader):
    """One JSON object a line; empty lines are passed over."""

    container = Container.JSON_LINES

    def records(self) -> Iterator[Record | BadRow]:
        """Yield the object of each line."""
        decode = msgspec.json.Decoder().decode
        for number, line in enumerate(self._file.lines(), 1):
            if line.isspace():
                continue
            if self._file.unreadable(line):
                yield self._undecoded(number)
                continue
            try:
                yield _as_record(number, decode(line))
            except (msgspec.DecodeError, RecursionError, UnicodeError):
                yield BadRow(number, "it is not valid JSON")


class Json(Reader):
    """An array of objects, or an object with one under ``data``."""

    container = Container.JSON
    unit = "row"

    def __init__(self, path: Path, file: TextFile) -> None:
        """Read the whole file.

        Raises:
            InvalidRequest: it is too large for that, not valid JSON, or holds no array.
        """
        self.encoding = file.encoding
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise InvalidRequest(
                f"{path.name} is one JSON value of {path.stat().st_size / 2**20:,.0f} MiB, and "
                f"{_MAX_JSON_BYTES // 2**20} MiB is the most that is read whole. Save it as JSON "
                "Lines, one object a line.",
                param="dataset",
            )
        text = "".join(file.lines())
        if file.unreadable(text):
            raise InvalidRequest(
                f"{path.name} has bytes that are no {file.encoding}. Save it as UTF-8.",
                param="dataset",
            )
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise InvalidRequest(
                f"{path.name} is neither JSON nor JSON Lines: {error}.", param="dataset"
            ) from None
        self._values = _list_in(path, value)

    def records(self) -> Iterator[Record | BadRow]:
        """Yield the objects, numbered from 1."""
        for number, value in enumerate(self._values, 1):
            yield _as_record(number, value)


class Delimited(_TextReader):
    """Fields with a header, as spreadsheets write them."""

    def __init__(self, file: TextFile, delimiter: str) -> None:
        """Read `file`, whose fields are separated by `delimiter`."""
        super().__init__(file)
        self._delimiter = delimiter
        self.container = Container.TSV if delimiter == "\t" else Container.CSV
        # A document fits into a field; the largest that C has on Windows too.
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))

    def records(self) -> Iterator[Record | BadRow]:
        """Yield the fields by the names in the header."""
        rows = csv.reader(self._file.lines(), delimiter=self._delimiter, strict=True)
        header: list[str] = []
        while True:
            first = rows.line_num + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(first, f"its quotes are wrong: {error}")
                continue
            if not any(row):
                continue
            if not header:
                header = _header(row)
            elif self._file.unreadable("".join(row)):
                yield self._undecoded(first)
            elif len(row) != len(header):
                yield BadRow(first, f"it has {len(row)} fields, and the header {len(header)}")
            else:
                yield first, dict(zip(header, row, strict=True))


class Paragraphs(_TextReader):
    """Plain text, of which each paragraph is a row: empty lines part them."""

    container = Container.TEXT

    def records(self) -> Iterator[Record | BadRow]:
        """Yield the paragraphs, each by the number of its first line."""
        first, paragraph = 1, ""
        for number, line in enumerate(self._file.lines(), 1):
            if not line.isspace():
                first = first if paragraph else number
                paragraph += line
            elif paragraph:
                yield self._record(first, paragraph)
                paragraph = ""
        if paragraph:
            yield self._record(first, paragraph)

    def _record(self, first: int, paragraph: str) -> Record | BadRow:
        if self._file.unreadable(paragraph):
            return self._undecoded(first)
        return first, {"text": paragraph.removesuffix("\n")}


class Parquet(Reader):
    """A Parquet file, read batch by batch."""

    container = Container.PARQUET
    unit = "row"

    def __init__(self, path: Path) -> None:
        """Name the file; raise `InvalidRequest` if it is damaged."""
        import pyarrow as pa
        from pyarrow import parquet

        self._path = path
        try:
            parquet.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise InvalidRequest(
                f"{path.name} is a damaged Parquet file: {error}", param="dataset"
            ) from error

    def records(self) -> Iterator[Record | BadRow]:
        """Yield the rows, numbered from 1."""
        from pyarrow import parquet

        number = 0
        with parquet.ParquetFile(self._path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for value in batch.to_pylist():
                    number += 1
                    yield number, value


class Table(Reader):
    """A dataset of the datasets library, mapped from disk."""

    unit = "row"

    def __init__(self, dataset: Any, container: Container) -> None:
        """Read `dataset`, a `datasets.Dataset`."""
        self._dataset = dataset
        self.container = container

    def records(self) -> Iterator[Record | BadRow]:
        """Yield the rows, numbered from 1."""
        number = 0
        for batch in self._dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS):
            for value in batch.to_pylist():
                number += 1
                yield number, value


def _as_record(number: int, value: Any) -> Record | BadRow:
    if isinstance(value, dict):
        return number, value
    return BadRow(number, "it is no JSON object")


def _header(fields: list[str]) -> list[str]:
    names = [field.strip() for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidRequest(
            f"The header names {', '.join(map(repr, twice))} more than once, so it is not clear "
            "which column is meant. Rename one.",
            param="dataset",
        )
    return names


def _list_in(path: Path, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = [value[key] for key in _LIST_KEYS if isinstance(value.get(key), list)]
        if len(lists) == 1:
            return list(lists[0])
    raise InvalidRequest(
        f"{path.name} is JSON, but neither an array of rows nor an object with one under "
        f"{' or '.join(_LIST_KEYS)}.",
        param="dataset",
    )
