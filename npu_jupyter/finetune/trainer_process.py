"""A job's trainer as a server sees it: a process of its own that outlives servers."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import msgspec
import portalocker

from npu_jupyter.engine.process import ProcessIdentity, spawn_detached
from npu_jupyter.errors import Conflict
from npu_jupyter.finetune.folder import JobFolder

_LOCK_TIMEOUT_S = 5.0
"""A server that looks whether the lock is free holds it for a moment itself."""
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for work must not keep cores from inference: gives both half as much again."""


@contextmanager
def trainer_lock(folder: JobFolder) -> Iterator[None]:
    """Be the one trainer of a job for life.

    Raises:
        Conflict: when another process is.
    """
    lock = portalocker.Lock(folder.lock, mode="a", timeout=_LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except portalocker.LockException as error:
        raise Conflict(f"Another process trains the job of {folder.path}.") from error
    try:
        yield
    finally:
        lock.release()


def has_trainer(folder: JobFolder) -> bool:
    """Whether some process holds the job's lock."""
    if not folder.lock.exists():
        return False
    lock = portalocker.Lock(folder.lock, mode="a", timeout=0, fail_when_locked=True)
    try:
        lock.acquire()
    except portalocker.LockException:
        return True
    lock.release()
    return False


class _Note(msgspec.Struct):
    """What trainer.json holds."""

    pid: int
    started: float
    attempt: int
    log_offset: int


class TrainerProcess:
    """The process that was started for an attempt at a job."""

    def __init__(
        self, folder: JobFolder, note: _Note, child: subprocess.Popen[bytes] | None = None
    ) -> None:
        """Speak of the process that `note` identifies; `child` when it was started here."""
        self.folder = folder
        self.attempt = note.attempt
        self._log_offset = note.log_offset
        self._identity = ProcessIdentity(note.pid, note.started)
        self._child = child

    @classmethod
    def start(
        cls, folder: JobFolder, attempt: int, *, module: str, first_line: dict[str, Any], nice: int
    ) -> Self:
        """Start a trainer.

        Raises:
            OSError: when no process can be started, or nothing be written.
        """
        log_offset = folder.log.stat().st_size if folder.log.exists() else 0
        child = spawn_detached(
            module,
            json.dumps(first_line).encode(),
            folder.log,
            variables=_ENVIRONMENT,
            nice=nice,
        )
        identity = ProcessIdentity.of(child.pid)
        note = _Note(child.pid, identity.started if identity else 0.0, attempt, log_offset)
        try:
            folder.process.write_bytes(msgspec.json.encode(note))
        except OSError:
            child.kill()
            child.wait()
            raise
        return cls(folder, note, child)

    @classmethod
    def found(cls, folder: JobFolder) -> Self | None:
        """Find the trainer that a server started, this one or another; None if there is none."""
        try:
            return cls(folder, msgspec.json.decode(folder.process.read_bytes(), type=_Note))
        except (OSError, msgspec.MsgspecError):
            return None

    @property
    def pid(self) -> int:
        """Its number, and that of its process group."""
        return self._identity.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        if self._child is not None:
            return self._child.poll() is None
        return self._identity.alive

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs, or when another server was its parent."""
        return None if self._child is None else self._child.poll()

    def last_words(self, characters: int = 4000) -> str:
        """Give the end of what it wrote."""
        try:
            with self.folder.log.open("rb") as log:
                end = log.seek(0, 2)
                log.seek(max(self._log_offset, end - characters))
                return log.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def end(self) -> None:
        """Kill it and all that it started."""
        self._identity.end_family()
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=1)

    def forget(self) -> None:
        """Take away the note of a trainer that is gone."""
        self.folder.process.unlink(missing_ok=True)
