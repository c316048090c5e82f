"""Find out by its content how a dataset is laid down, and open it."""

from __future__ import annotations

import csv
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from npu_jupyter.errors import InvalidRequest
from npu_jupyter.finetune.datasets.records import (
    Container,
    Delimited,
    Json,
    JsonLines,
    Paragraphs,
    Parquet,
    Reader,
    Table,
)
from npu_jupyter.finetune.datasets.text_file import SAMPLE_BYTES, TextFile, wide_encoding

_PARQUET_MAGIC = b"PAR1"
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
_DELIMITERS = (",", "\t", ";", "|")
_LOOKED_AT = 20
"""Lines that tell JSON Lines from JSON, and fields from plain text."""
_TRAIN = "train"


def open_dataset(path: Path, known_columns: AbstractSet[str]) -> Reader:
    """Open what lies at `path`; fields are told from plain text by `known_columns`.

    Raises:
        InvalidRequest: it is empty, compressed, or none of the forms that are read.
    """
    if path.is_dir():
        return _open_folder(path)
    return Parquet(path) if is_parquet(path, path.name) else _open_text(path, known_columns)


def is_parquet(path: Path, name: str) -> bool:
    """Tell Parquet from text by the first bytes; errors call the file `name`.

    Raises:
        InvalidRequest: it is empty, compressed, or neither of the two.
    """
    with path.open("rb") as stream:
        start = stream.read(SAMPLE_BYTES)
    if not start:
        raise InvalidRequest(f"{name} is empty.", param="dataset")
    if start.startswith(_PARQUET_MAGIC):
        return True
    for magic, form in _COMPRESSED.items():
        if start.startswith(magic):
            raise InvalidRequest(
                f"{name} is compressed ({form}). Unpack it first.", param="dataset"
            )
    wide_encoding(start, name)
    return False


def _open_text(path: Path, known_columns: AbstractSet[str]) -> Reader:
    file = TextFile(path)
    lines = [line for line in islice(file.lines(), _LOOKED_AT) if not line.isspace()]
    if not lines:
        raise InvalidRequest(f"{path.name} holds nothing but empty lines.", param="dataset")
    if lines[0].lstrip().startswith("["):
        return Json(path, file)
    if lines[0].lstrip().startswith("{"):
        return JsonLines(file) if _is_json_lines(lines) else Json(path, file)
    delimiter = _delimiter(path, lines[0], known_columns)
    return Paragraphs(file) if delimiter is None else Delimited(file, delimiter)


def _is_json_lines(lines: list[str]) -> bool:
    """Tell objects, one a line, from an object that is written over many lines or holds all."""
    values = [_parsed(line) for line in lines]
    objects = [value for value in values if isinstance(value, dict)]
    if len(lines) > 1 or not objects:
        # A damaged first line does not make JSON of what others say is JSON Lines.
        return bool(objects)
    return not any(
        isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
        for key, value in objects[0].items()
        if key in {"data", "rows", "train"}
    )


def _parsed(line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def _delimiter(path: Path, header: str, known_columns: AbstractSet[str]) -> str | None:
    """Find what parts the fields of a header that names a column we know, or of a CSV file."""
    for delimiter in _DELIMITERS:
        fields = _fields(header, delimiter)
        if len(fields) > 1 and known_columns & set(fields):
            return delimiter
    suffix = path.suffix.lower()
    if suffix in {".csv", ".tsv"}:
        most = max(_DELIMITERS, key=lambda delimiter: len(_fields(header, delimiter)))
        return most if len(_fields(header, most)) > 1 else {".csv": ",", ".tsv": "\t"}[suffix]
    return None


def _fields(header: str, delimiter: str) -> list[str]:
    try:
        (fields,) = csv.reader([header], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return []
    return [field.strip() for field in fields]


def _open_folder(path: Path) -> Reader:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError, OSError) as error:
        raise InvalidRequest(
            f"The folder {path.name} cannot be read as one that datasets' save_to_disk wrote: "
            f"{error}",
            param="dataset",
        ) from error
    return Table(one_split(loaded, path.name), Container.ARROW)


def one_split(loaded: Any, name: str) -> Any:
    """Take the split ``train``, or the only one; raise `InvalidRequest` when that is a guess."""
    import datasets

    if not isinstance(loaded, datasets.DatasetDict):
        return loaded
    if _TRAIN in loaded:
        return loaded[_TRAIN]
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    raise InvalidRequest(
        f"{name} has the splits {', '.join(loaded)}, and none is named {_TRAIN}. Save the one to "
        "train on by itself.",
        param="dataset",
    )
