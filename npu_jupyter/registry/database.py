"""Open the registry's database and bring its tables up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from npu_jupyter.errors import Conflict, EngineBusy, InsufficientDisk, NpuError
from npu_jupyter.registry.disk import REMEDY

_BUSY_TIMEOUT_MS = 30_000
_RETRY_AFTER_S = 5.0
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
            if _revision(connection) != _newest_revision():
                _migrate(connection)
    except DBAPIError as error:
        engine.dispose()
        raise NpuError(
            f"The database {engine.url.render_as_string(hide_password=True)} cannot be opened: "
            f"{error.orig}. Check Registry.data_dir and Registry.db_url."
        ) from error
    except Conflict:
        engine.dispose()
        raise
    return engine


def told(error: DBAPIError) -> NpuError:
    """Put into words why the database did not do what was asked; it did none of it."""
    reason = str(error.orig)
    if "full" in reason:
        return InsufficientDisk(f"The database cannot grow: {reason}. {REMEDY}")
    if "locked" in reason or "busy" in reason:
        return EngineBusy(
            f"Another process has held the database for {_BUSY_TIMEOUT_MS // 1000} s. Try again; "
            "if it stays so, look for a hung `jupyter npu` process and end it.",
            retry_after_s=_RETRY_AFTER_S,
        )
    return NpuError(
        f"The database failed: {reason}. Check the disk, Registry.data_dir and Registry.db_url."
    )


def _set_pragmas(connection: Any, _record: Any) -> None:
    """Let readers go on while one process writes, and a second writer wait for the first."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _revision(connection: Connection) -> str | None:
    """Read which migration the database is at; None for a new one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _newest_revision() -> str:
    """Give the number of the newest migration, with which its file's name begins."""
    newest = max(path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    return newest.partition("_")[0]


def _migrate(connection: Connection) -> None:
    """Bring the tables up to date.

    alembic takes 0.2 s and 12 MB to import, and most databases are up to date.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    # The parser under alembic's configuration reads % as the start of a variable.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Conflict(
            "The model database was written by a newer release of npu-jupyter. "
            "Upgrade with: pip install --upgrade npu-jupyter"
        ) from error
