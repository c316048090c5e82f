"""The child that checks a dataset: reads, renders and counts every row.

Started by `npu_jupyter.finetune.datasets.check`.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import psutil

from npu_jupyter.engine.process import step_back
from npu_jupyter.errors import InvalidRequest, MissingExtra, NotFound, PermissionDenied
from npu_jupyter.finetune.datasets.check import CheckRequest
from npu_jupyter.finetune.datasets.layout import KNOWN_COLUMNS, Layout, find_layout
from npu_jupyter.finetune.datasets.locate import HUB
from npu_jupyter.finetune.datasets.opening import open_dataset
from npu_jupyter.finetune.datasets.records import Reader
from npu_jupyter.finetune.datasets.report import DatasetReport
from npu_jupyter.finetune.datasets.rows import BadRow
from npu_jupyter.finetune.datasets.tally import Tally
from npu_jupyter.registry.child import Parent
from npu_jupyter.registry.disk import disk_errors_told, size_of
from npu_jupyter.registry.sources.source import digest

_HEAD_RECORDS = 100
"""The first records, whose columns tell the format."""
_BATCH_ROWS = 1024
_NICE = 10


def check(parent: Parent) -> dict[str, Any]:
    """Check the dataset that the request names and return the report."""
    request = msgspec.convert(parent.request, CheckRequest)
    try:
        return msgspec.to_builtins(_check(parent, request))  # type: ignore[no-any-return]
    except FileNotFoundError as error:
        raise NotFound(
            f"The dataset {Path(request.source).name} was there and is gone. Give it again.",
            param="dataset",
        ) from error
    except PermissionError as error:
        raise PermissionDenied(
            f"The server may not read {Path(request.source).name}. Change its permissions.",
            param="dataset",
        ) from error


def _check(parent: Parent, request: CheckRequest) -> DatasetReport:
    tokenizer = _load_tokenizer(request)
    parent.report("read", message=Path(request.source).name)
    if request.source.startswith(HUB):
        reader, sha256, size, state = _open_hub(request.source), None, 0, None
    else:
        path = Path(request.source)
        state, size = _state(path), size_of(path)
        sha256 = digest(path, Event())
        reader = _open(path, request)
    head = [item for item in islice(reader.records(), _HEAD_RECORDS) if isinstance(item, tuple)]
    if not head:
        raise InvalidRequest(_no_record(reader), param="dataset")
    layout = find_layout([record for _, record in head], request.columns, request.format)
    columns = list(dict.fromkeys(column for _, record in head for column in record))
    tally = Tally(request, reader, layout, tokenizer)
    with ExitStack() as stack:
        snapshot = _Snapshot(request.snapshot, stack) if request.snapshot else None
        records = reader.records()
        while batch := list(islice(records, _BATCH_ROWS)):
            for row in tally.take(batch):
                if snapshot is not None:
                    snapshot.write(row)
            parent.report("check", reader.position, size, f"{tally.rows:,} rows")
        if state is not None and _state(path) != state:
            raise InvalidRequest(
                "The dataset changed while it was read. Try again when nothing writes to it.",
                param="dataset",
            )
        report = tally.report(_found(reader, layout, request), columns, sha256)
        if request.max_bad_rows is not None:
            report.require_good(request.max_bad_rows)
        if snapshot is not None:
            snapshot.keep()
    return report


class _Snapshot:
    """The good rows in normal form, in a file that is there whole or not at all."""

    def __init__(self, path: str, stack: ExitStack) -> None:
        """Write aside; what is not kept is gone when `stack` ends."""
        self._path = Path(path)
        self._part = Path(path + ".part")
        stack.enter_context(disk_errors_told(self._path.parent, "Keeping the dataset for the job"))
        stack.callback(self._part.unlink, missing_ok=True)
        self._stream = stack.enter_context(self._part.open("wb"))

    def write(self, row: bytes) -> None:
        """Add a row."""
        self._stream.write(row + b"\n")

    def keep(self) -> None:
        """Put the whole file in its place."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._part.replace(self._path)


def _state(path: Path) -> list[tuple[int, int]]:
    """Tell a source from a changed one."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files)]


def _load_tokenizer(request: CheckRequest) -> Any:
    if not request.source.startswith(HUB):
        # What is needed lies here: a check must neither wait for the network nor tell it.
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    # A tokenizer needs neither, and importing them takes seconds.
    sys.modules.update(dict.fromkeys(("torch", "sklearn")))  # type: ignore[arg-type]
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise MissingExtra("Checking a dataset", "finetune") from error
    return AutoTokenizer.from_pretrained(request.tokenizer)


def _open(path: Path, request: CheckRequest) -> Reader:
    try:
        return open_dataset(path, KNOWN_COLUMNS | {*request.columns.values()})
    except ModuleNotFoundError as error:
        raise MissingExtra("Reading this dataset", "finetune") from error


def _open_hub(source: str) -> Reader:
    try:
        from npu_jupyter.finetune.datasets.hub import open_hub
    except ModuleNotFoundError as error:
        raise MissingExtra("Fetching a dataset", "finetune") from error
    return open_hub(source.removeprefix(HUB))


def _no_record(reader: Reader) -> str:
    head = islice(reader.records(), _HEAD_RECORDS)
    bad = next((item for item in head if isinstance(item, BadRow)), None)
    if bad is None:
        return "The dataset has no row."
    return (
        f"None of the first {_HEAD_RECORDS} rows can be read as {reader.container}. The first "
        f"fault: {bad.message}."
    )


def _found(reader: Reader, layout: Layout, request: CheckRequest) -> str:
    """Say what was detected and why."""
    named = ", ".join(
        f"{theirs} as {ours}" if ours != theirs else ours for ours, theirs in layout.columns.items()
    )
    chosen = "as asked" if request.format or request.columns else "told by its columns"
    encoding = f" in {reader.encoding}" if reader.encoding else ""
    return f"{reader.container}{encoding}, of the format {layout.format} ({chosen}: {named})"


def main() -> None:
    """Answer one request, behind those that chat on the same cores."""
    step_back(psutil.Process(), _NICE)
    Parent().answer(check)


if __name__ == "__main__":
    main()
