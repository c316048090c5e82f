"""Datasets that callers may use: what they have sent here, and files in folders that are open."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from traitlets import Int, List, Unicode, default
from traitlets.config import LoggingConfigurable

from npu_jupyter.errors import InvalidRequest, NotFound, RequestTooLarge
from npu_jupyter.finetune.datasets.locate import DEFAULT_MAX_MIB, locate
from npu_jupyter.finetune.datasets.opening import is_parquet
from npu_jupyter.finetune.uploads import Uploads
from npu_jupyter.registry.disk import disk_errors_told, ensure_space

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_FILE_ID = "file-"
"""What the names of files begin with that came by OpenAI's API."""
_CHECKS_AT_ONCE = 2
_MIB = 2**20
_STALE_S = 24 * 3600.0


class Dataset(msgspec.Struct):
    """A dataset that a caller has sent."""

    name: str
    size_bytes: int
    created: int
    """Unix time in seconds."""


class Datasets(LoggingConfigurable):
    """Each caller's own datasets, and those that all may read."""

    roots = List(
        Unicode(),
        help="""Folders with datasets that callers of /api/finetune may name. Default: those of
        NpuApp.source_dirs. What callers have sent is theirs wherever this points.""",
    ).tag(config=True)

    max_mib = Int(
        DEFAULT_MAX_MIB,
        min=0,
        help=f"""Size of the largest dataset, in MiB. Default: {DEFAULT_MAX_MIB}. 0 is no limit
        of ours.""",
    ).tag(config=True)

    @default("roots")
    def _roots_default(self) -> list[str]:
        return list(getattr(self.parent, "source_dirs", ()))

    def __init__(self, data_dir: Path, **kwargs: Any) -> None:
        """Keep what is sent below `data_dir`."""
        super().__init__(**kwargs)
        self._data_dir = data_dir
        self.checks = asyncio.Semaphore(_CHECKS_AT_ONCE)
        """Each check is a process that reads a whole dataset."""

    def find(self, dataset: str, owner: str) -> Path | str:
        """Find what `owner` calls his dataset: a name, a file's id, a path, or hub's name.

        Raises:
            NpuError: as `locate`.
        """
        uploads = Uploads(self._data_dir, owner)
        if by_id := uploads.find(dataset):
            return by_id
        if _is_name(dataset) and (uploads.folder / dataset).is_file():
            return uploads.folder / dataset
        return locate(dataset, list(map(Path, self.roots)), max_mib=self.max_mib)

    def all(self, owner: str) -> list[Dataset]:
        """List what `owner` has sent, by name."""
        folder = self._folder(owner)
        files = folder.iterdir() if folder.is_dir() else ()
        return [_described(file) for file in sorted(files) if _is_name(file.name)]

    def remove(self, owner: str, name: str) -> None:
        """Delete a dataset; jobs keep the rows that they took from it.

        Raises:
            NotFound: `owner` has none of that name.
        """
        try:
            (self._folder(owner) / check_name(name)).unlink()
        except FileNotFoundError:
            raise NotFound(
                f"You have no dataset {name!r}. GET /api/npu/datasets lists yours."
            ) from None

    def receive(self, owner: str, name: str, size_bytes: int) -> Incoming:
        """Begin to take a dataset in, of a size that may be told: 0 is not known.

        Raises:
            InvalidRequest: it cannot have that name.
            RequestTooLarge: it is larger than `max_mib`.
            InsufficientDisk: there is no room for it.
        """
        folder = self._folder(owner)
        target = folder / check_name(name)
        self.check_size(size_bytes)
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        ensure_space(folder, size_bytes, f"Keeping {name}")
        return Incoming(target, self)

    @property
    def max_bytes(self) -> int:
        """The limit in bytes, or as much as there can be."""
        return self.max_mib * _MIB or sys.maxsize // 2

    def check_size(self, size_bytes: int) -> None:
        """Raise `RequestTooLarge` for what is larger than may be."""
        if size_bytes > self.max_bytes:
            raise RequestTooLarge(
                f"The dataset has {size_bytes / _MIB:,.1f} MiB or more; datasets may have "
                f"{self.max_mib:,}. Send less, or raise Datasets.max_mib."
            )

    def _folder(self, owner: str) -> Path:
        return Uploads(self._data_dir, owner).folder


class Incoming:
    """A dataset that is being sent: there whole, or not at all."""

    def __init__(self, target: Path, datasets: Datasets) -> None:
        """Write aside."""
        self._target = target
        self._datasets = datasets
        self._part = target.with_name(f".{uuid.uuid4().hex}.part")
        self._stream = self._part.open("wb")
        self._size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take more of it.

        Raises:
            RequestTooLarge: it has become larger than may be.
            InsufficientDisk: the disk is full.
        """
        self._size_bytes += len(chunk)
        self._datasets.check_size(self._size_bytes)
        with disk_errors_told(self._target.parent, f"Keeping {self._target.name}"):
            self._stream.write(chunk)

    def keep(self) -> Dataset:
        """Put it in its place, over one of the same name.

        Raises:
            InvalidRequest: it is empty, or no form of dataset.
        """
        with disk_errors_told(self._target.parent, f"Keeping {self._target.name}"):
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            is_parquet(self._part, self._target.name)
            self._part.replace(self._target)
        return _described(self._target)

    def drop(self) -> None:
        """Forget it, unless it was kept."""
        with suppress(OSError):  # what it still held does not fit on the disk
            self._stream.close()
        self._part.unlink(missing_ok=True)


def check_name(name: str) -> str:
    """Return `name`, or raise `InvalidRequest` that says what is allowed."""
    if not _is_name(name):
        raise InvalidRequest(
            f"{name[:120]!r} cannot be a dataset's name: letters, digits and . _ - are allowed, "
            f"120 at most, beginning with a letter or digit, and not with {_FILE_ID!r}.",
            param="name",
        )
    return name


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and not name.startswith(_FILE_ID)


def _sweep(folder: Path) -> None:
    """Remove what a server that was killed had received in part."""
    oldest = time.time() - _STALE_S
    for part in folder.glob(".*.part"):
        with suppress(OSError):  # another server was faster
            if part.stat().st_mtime < oldest:
                part.unlink()


def _described(file: Path) -> Dataset:
    facts = file.stat()
    return Dataset(file.name, facts.st_size, int(facts.st_mtime))
