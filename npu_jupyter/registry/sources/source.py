"""What every source offers, and what it is given to work with."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from npu_jupyter.registry.folder import Form
from npu_jupyter.registry.incoming import PullCancelled
from npu_jupyter.registry.records import PullProgress

_CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where an import works and whom it tells."""

    folder: Path
    """The import's own, gone at its end."""
    downloads: Path
    """Kept from one import to the next, so that a broken download goes on."""
    report: Callable[[PullProgress], None]
    cancelled: Event

    @property
    def data_dir(self) -> Path:
        """The data directory, in which downloads are kept."""
        return self.downloads.parent


@dataclass(frozen=True, slots=True)
class Found:
    """A model's files as a source delivers them."""

    form: Form
    path: Path
    source: str
    """The source with what was resolved, such as the version."""
    name: str
    """The name it gets when nobody chose one."""
    fingerprint: str
    """SHA-256 of the content."""
    ours: bool
    """Fetched for this import, so it may be moved rather than copied."""


class Source(ABC):
    """A place that a model can be fetched from."""

    text: str
    """The source as a user would write it, in one normal form."""

    def peek(self, workspace: Workspace) -> Found | None:  # noqa: ARG002
        """Tell what `fetch` would bring, where that can be known without bringing it."""
        return None

    @abstractmethod
    def fetch(self, workspace: Workspace) -> Found:
        """Bring the files here; raise an `NpuError` if they cannot be had."""

    def forget(self, workspace: Workspace) -> None:  # noqa: B027
        """Remove what was kept for the case that the import breaks off."""


def digest(path: Path, cancelled: Event) -> str:
    """Hash a file, or the names and contents of all files in a folder."""
    total = hashlib.sha256()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        if path.is_dir():
            total.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                if cancelled.is_set():
                    raise PullCancelled("The import was stopped. Nothing was registered.")
                total.update(chunk)
    return total.hexdigest()
