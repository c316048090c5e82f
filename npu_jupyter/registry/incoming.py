"""Folders in which imports are prepared, and the sweep of those that a dead process left.

A folder ``incoming/<id>`` belongs to a living import exactly as long as ``incoming/<id>.lock``
is held: the operating system lets go of the lock however the process ends.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import portalocker

from npu_jupyter.errors import Conflict, EngineBusy, NpuError

_POLL_S = 0.1
_REGISTRY_LOCK_TIMEOUT_S = 120.0


class PullCancelled(Conflict):
    """The import was stopped on request; nothing of it is registered."""

    code = "pull_cancelled"


@contextmanager
def registry_lock(data_dir: Path) -> Iterator[None]:
    """Be the only process that changes what is registered below `data_dir`."""
    path = data_dir / "registry.lock"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = portalocker.Lock(path, timeout=_REGISTRY_LOCK_TIMEOUT_S, check_interval=_POLL_S / 5)
        lock.acquire()
    except portalocker.LockException as error:
        raise EngineBusy(
            f"Another process has held {path} for {_REGISTRY_LOCK_TIMEOUT_S:.0f} s. "
            "Look for a hung `jupyter npu` process and end it."
        ) from error
    except OSError as error:
        raise NpuError(
            f"The data directory {data_dir} cannot be used: {error.strerror}. Choose another by "
            "Registry.data_dir or NPU_JUPYTER_DATA."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def source_lock(
    data_dir: Path, digest: str, waiting: Callable[[], None], cancelled: Event
) -> Iterator[None]:
    """Let one process at a time import the source with this digest; the others wait."""
    folder = data_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = portalocker.Lock(folder / f"{digest}.lock", timeout=0, fail_when_locked=True)
    while True:
        try:
            lock.acquire()
            break
        except portalocker.LockException:
            waiting()
            if cancelled.wait(_POLL_S):
                raise PullCancelled("Stopped while waiting for another import.") from None
    try:
        yield
    finally:
        lock.release()


class Incoming:
    """One import's folder, removed at exit unless its content was moved away."""

    def __init__(self, data_dir: Path) -> None:
        """Make the folder and take its lock."""
        root = data_dir / "incoming"
        self.folder = root / uuid.uuid4().hex
        self._lock_path = _lock_path(self.folder)
        # Under the registry's lock, or a sweep could come between the file and its lock.
        with registry_lock(data_dir):
            root.mkdir(exist_ok=True)
            self._lock = portalocker.Lock(self._lock_path, mode="w", timeout=0)
            self._lock_file = self._lock.acquire()
            self.folder.mkdir()

    def announce(self, target: Path) -> None:
        """Note where the model is about to be moved, for the sweep if that is cut short."""
        self._lock_file.write(target.name)
        self._lock_file.flush()

    def close(self) -> None:
        """Remove what is left of the folder and let go of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()
        self._lock_path.unlink(missing_ok=True)


def trash(data_dir: Path) -> Path:
    """Name a place to move a removed model to, so that it disappears at once."""
    root = data_dir / "incoming"
    root.mkdir(exist_ok=True)
    return root / uuid.uuid4().hex


def sweep(data_dir: Path, registered: set[Path]) -> list[Path]:
    """Remove what dead imports left; the caller holds the registry's lock.

    A folder below ``models`` goes only if a dead import says that it was moving it there and
    it is not `registered`.
    """
    root = data_dir / "incoming"
    removed: list[Path] = []
    if not root.is_dir():
        return removed
    names = {path.with_suffix("") for path in root.iterdir()}
    for folder in sorted(names):
        lock_path = _lock_path(folder)
        lock = portalocker.Lock(lock_path, mode="a+", timeout=0, fail_when_locked=True)
        try:
            file = lock.acquire()
        except portalocker.LockException:
            continue
        file.seek(0)
        target = file.read().strip()
        doomed = [folder]
        if target and (data_dir / "models" / target) not in registered:
            doomed.append(data_dir / "models" / target)
        for path in doomed:
            if path.exists():
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
        lock.release()
        lock_path.unlink(missing_ok=True)
    return removed


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
