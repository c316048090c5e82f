"""Open the registry's database and bring its tables up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from npu_jupyter.errors import Conflict, NpuError

_BUSY_TIMEOUT_MS = 30_000
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str) -> Engine:
    """Connect to `url` and migrate it; the caller holds the data directory's lock.

    Raises `Conflict` when a newer release has written the database.
    """
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
    try:
        with engine.begin() as connection:
            _migrate(connection)
    except DBAPIError as error:
        engine.dispose()
        raise NpuError(
            f"The database {engine.url.render_as_string(hide_password=True)} cannot be opened: "
            f"{error.orig}. Check Registry.data_dir and Registry.db_url."
        ) from error
    except CommandError as error:
        engine.dispose()
        raise Conflict(
            "The model database was written by a newer release of npu-jupyter. "
            "Upgrade with: pip install --upgrade npu-jupyter"
        ) from error
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    """Let readers go on while one process writes, and a second writer wait for the first."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _migrate(connection: Connection) -> None:
    config = Config()
    # The parser under alembic's configuration reads % as the start of a variable.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    if MigrationContext.configure(connection).get_current_revision() != head:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
