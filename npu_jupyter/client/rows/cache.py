"""Answers on disk, so that an interrupted run goes on where it was."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

MAX_BYTES = 256 * 2**20
"""Above this the older half is forgotten."""
_ASKED_AT_ONCE = 500
"""Parameters of one statement; SQLite allows no more than a thousand everywhere."""
_BUSY_TIMEOUT_S = 10

_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value BLOB NOT NULL)"


def cache_path() -> Path:
    """Give the file: below NPU_JUPYTER_CACHE, or where this system keeps a user's caches."""
    folder = os.environ.get("NPU_JUPYTER_CACHE")
    if folder:
        return Path(folder) / "answers.sqlite3"
    from platformdirs import user_cache_path

    return user_cache_path("npu-jupyter") / "answers.sqlite3"


class Cache:
    """A table of answers that several kernels may share; only its owner can read it."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Open the file, or make it; one that is damaged is begun anew.

        Where nothing can be written answers are kept in memory, and `fault` says why.
        """
        self._max_bytes = max_bytes
        self.fault: str | None = None
        try:
            self._database = _open_file(path)
        except (OSError, sqlite3.OperationalError) as error:
            self.fault = f"{path}: {error}"
            self._database = _open(":memory:")

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Give what is known of `keys`."""
        known: dict[bytes, bytes] = {}
        for some in _portions(keys):
            marks = ", ".join("?" * len(some))
            query = f"SELECT key, value FROM answers WHERE key IN ({marks})"  # noqa: S608 - marks
            known.update(self._database.execute(query, some))
        return known

    def put(self, answers: dict[bytes, bytes]) -> None:
        """Keep answers."""
        with closing(self._database.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(
                "INSERT OR REPLACE INTO answers (key, value) VALUES (?, ?)", answers.items()
            )
            cursor.execute("COMMIT")

    def close(self) -> None:
        """Forget the older half if there is too much, and close the file."""
        with suppress(sqlite3.OperationalError):  # another kernel has it; it will see to it
            if self._pragma("page_count") * self._pragma("page_size") > self._max_bytes:
                self._database.execute(
                    "DELETE FROM answers WHERE rowid <= "
                    "(SELECT (min(rowid) + max(rowid)) / 2 FROM answers)"
                )
                self._database.executescript("PRAGMA incremental_vacuum")
        self._database.close()

    def _pragma(self, name: str) -> int:
        value: int = self._database.execute(f"PRAGMA {name}").fetchone()[0]
        return value


def _open_file(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    try:
        return _open(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # damaged
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        path.touch(mode=0o600)
        return _open(path)


def _open(path: Path | str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    try:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(_SCHEMA)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _portions(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(keys)
    while some := list(islice(rest, _ASKED_AT_ONCE)):
        yield some
