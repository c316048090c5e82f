"""A directory with a database in it that several servers may share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Unicode, default, validate
from traitlets.config import LoggingConfigurable

# sqlalchemy and alembic take 0.3 s to import: not before somebody asks for a model.
if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session


class DataDirectory(LoggingConfigurable):
    """Opens the database at first use; any thread may call."""

    data_dir = Unicode(
        help="""Directory of models, database and caches. Default: the environment variable
        NPU_JUPYTER_DATA, or `npu` below Jupyter's own data directory."""
    ).tag(config=True)

    db_url = Unicode(
        "",
        help="""SQLAlchemy URL of the database. Default: "", an SQLite file in data_dir, which
        must not lie on a network drive.""",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        """Read the configuration; nothing is opened or made yet."""
        super().__init__(**kwargs)
        self._opening = threading.Lock()
        self._engine: Engine | None = None

    @default("data_dir")
    def _default_data_dir(self) -> str:
        from jupyter_core.paths import jupyter_data_dir

        return os.environ.get("NPU_JUPYTER_DATA") or str(Path(jupyter_data_dir()) / "npu")

    @validate("data_dir")
    def _absolute_data_dir(self, proposal: dict[str, Any]) -> str:
        return str(Path(proposal["value"]).expanduser().absolute())

    @property
    def root(self) -> Path:
        """The directory."""
        return Path(self.data_dir)

    def close(self) -> None:
        """Close the database; the next call opens it again."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _open(self) -> Engine:
        from npu_jupyter.registry.incoming import registry_lock

        with self._opening:
            if self._engine is None:
                from npu_jupyter.registry.database import open_database

                with registry_lock(self.root):
                    path = self.root / "npu.sqlite3"
                    self._engine = open_database(self.db_url or f"sqlite:///{path}")
                    self._opened()
            return self._engine

    def _opened(self) -> None:
        """Put the directory in order, under its lock, once the database is there."""

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session of the database.

        Raises:
            InsufficientDisk: it is full.
            EngineBusy: another process has it locked.
        """
        from sqlalchemy.exc import OperationalError
        from sqlalchemy.orm import Session

        try:
            with Session(self._engine or self._open(), expire_on_commit=False) as session:
                yield session
        except OperationalError as error:
            from npu_jupyter.registry.database import told

            raise told(error) from error
