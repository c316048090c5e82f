"""Datasets that callers have sent, each caller's in a folder of his own."""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from npu_jupyter.errors import InvalidRequest, NotFound
from npu_jupyter.registry.disk import disk_errors_told, ensure_space

_FILE_ID = re.compile(r"file-[0-9a-f]{32}")
_MAX_NAME_LENGTH = 120


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a caller has sent."""

    id: str
    name: str
    """As the caller named it, without folders and odd characters."""
    path: Path
    size_bytes: int
    created: int
    """Unix time in seconds."""


class Uploads:
    """The files of one caller."""

    def __init__(self, data_dir: Path, owner: str) -> None:
        """Keep them below `data_dir`; an owner's name may be no folder's name."""
        digest = hashlib.sha256(owner.encode()).hexdigest()[:32]
        self.folder = data_dir / "datasets" / digest

    def add(self, name: str, content: bytes) -> Upload:
        """Keep a file, whole or not at all.

        Raises:
            InvalidRequest: it is empty.
            InsufficientDisk: there is no room for it.
        """
        if not content:
            raise InvalidRequest("The file is empty.", param="file")
        self.folder.mkdir(parents=True, exist_ok=True)
        ensure_space(self.folder, len(content), f"Keeping {name}")
        path = self.folder / f"file-{uuid.uuid4().hex}_{_safe(name)}"
        aside = path.with_name(f".{path.name}")
        with disk_errors_told(self.folder, f"Keeping {name}"):
            try:
                aside.write_bytes(content)
                aside.rename(path)
            finally:
                aside.unlink(missing_ok=True)
        return _upload(path)

    def all(self) -> list[Upload]:
        """List the files, the oldest first."""
        uploads = [_upload(path) for path in self.folder.glob("file-*_*")]
        return sorted(uploads, key=lambda upload: (upload.created, upload.id))

    def find(self, dataset: str) -> Path | None:
        """Give the file that has `dataset` for its id; None when that is no id of a file."""
        return self.get(dataset).path if _FILE_ID.fullmatch(dataset) else None

    def get(self, file_id: str) -> Upload:
        """Give a file.

        Raises:
            NotFound: the caller has none of that id.
        """
        if _FILE_ID.fullmatch(file_id):
            for path in self.folder.glob(f"{file_id}_*"):
                return _upload(path)
        raise NotFound(f"There is no file {file_id[:64]!r}. GET /v1/files lists yours.")

    def remove(self, file_id: str) -> None:
        """Delete a file; jobs keep the rows that they took from it.

        Raises:
            NotFound: the caller has none of that id.
        """
        self.get(file_id).path.unlink(missing_ok=True)


def _upload(path: Path) -> Upload:
    file_id, _, name = path.name.partition("_")
    facts = path.stat()
    return Upload(file_id, name, path, facts.st_size, int(facts.st_mtime))


def _safe(name: str) -> str:
    """Keep of a file's name what every system takes; the end tells its form."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last)[-_MAX_NAME_LENGTH:].lstrip(".-") or "data"
