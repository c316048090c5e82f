"""Checkpoints that are whole or not there: written aside, sealed with digests, then renamed.

A folder counts as a checkpoint when its manifest, which is written last, agrees with every file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

MANIFEST = "manifest.json"
_ASIDE = ".writing"
_KEPT = 2
_PREFIX = "step-"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint was made of, and the digests of its files."""

    step: int
    recipe: dict[str, Any]
    dataset_sha256: str
    eval_loss: float | None = None
    files: dict[str, str] = {}
    """SHA-256 by path below the checkpoint."""


class Checkpoints:
    """The checkpoints of one job."""

    def __init__(self, folder: Path) -> None:
        """Look at `folder`, which need not be there."""
        self.folder = folder

    def path(self, step: int) -> Path:
        """Name the checkpoint after `step` steps."""
        return self.folder / f"{_PREFIX}{step}"

    def aside(self) -> Path:
        """Give an empty folder in which one is written."""
        aside = self.folder / _ASIDE
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        return aside

    def seal(self, written: Path, manifest: Manifest) -> Path:
        """Make what was written aside a checkpoint, all at once."""
        files = {}
        for file in sorted(path for path in written.rglob("*") if path.is_file()):
            files[file.relative_to(written).as_posix()] = _digest(file)
            _sync(file)
        sealed = msgspec.structs.replace(manifest, files=files)
        (written / MANIFEST).write_bytes(msgspec.json.encode(sealed))
        _sync(written / MANIFEST)
        _sync(written)
        target = self.path(manifest.step)
        shutil.rmtree(target, ignore_errors=True)  # of an attempt that got this far before
        written.rename(target)
        _sync(self.folder)
        return target

    def prune(self, best_step: int | None) -> None:
        """Keep the newest two and the best."""
        steps = self.steps()
        for step in steps[:-_KEPT]:
            if step != best_step:
                shutil.rmtree(self.path(step), ignore_errors=True)

    def clear(self) -> None:
        """Remove all, for a job that starts over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def steps(self) -> list[int]:
        """List the checkpoints that are there, whole or not, by step."""
        names = (path.name for path in self.folder.glob(f"{_PREFIX}*"))
        return sorted(int(name.removeprefix(_PREFIX)) for name in names)

    def newest(self) -> Manifest | None:
        """Find the newest checkpoint that verifies."""
        found = (self.verified(step) for step in reversed(self.steps()))
        return next((manifest for manifest in found if manifest), None)

    def verified(self, step: int) -> Manifest | None:
        """Read a checkpoint's manifest; None if it does not agree with the files."""
        path = self.path(step)
        try:
            manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
            whole = all(_digest(path / name) == digest for name, digest in manifest.files.items())
        except (OSError, msgspec.DecodeError):
            return None
        return manifest if whole and manifest.step == step else None


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have the system put a file or folder on the disk; Windows opens no folders."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
