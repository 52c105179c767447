"""The database: connections, transactions and migrations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from aihwjax.errors import ConfigError, MissingExtraError
from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.storage import migrations
from aihwjax.server.storage.tables import Token

_BUSY_SECONDS = 30
_POOL = 40  # as many as a server has threads


class Store:
    """Transactions on the database of a composer; may be used by many threads."""

    def __init__(self, settings: ServerSettings) -> None:
        """Open the database and bring its tables up to date.

        Args:
            settings: Name the database.

        Raises:
            ConfigError: If the URL is not allowed or the database cannot be opened.
            MissingExtraError: If its driver is not installed.
        """
        settings.prepare()
        self._engine = _engine(settings.database)
        self._writing = self._engine.execution_options(writes=True)
        try:
            # SQLite's own lock would not do: its first step is to switch the journal
            with FileLock(settings.data_dir / "migrations.lock"), self._writing.begin() as connection:
                migrations.upgrade(connection)
        except DBAPIError as error:
            raise ConfigError(f"the database cannot be used: {_reason(error)}") from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a transaction that only reads.

        Raises:
            ServiceError: 503 if the database is out of reach.
        """
        with _failures(), Session(self._engine) as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a transaction that is committed at the end, or undone if an error is raised.

        On SQLite it excludes other writers from the start, so that what it reads stays true.

        Raises:
            ServiceError: 503 if the database is out of reach, 507 if its disk is full.
        """
        with _failures(), Session(self._writing) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def is_there(settings: ServerSettings) -> bool:
    """Whether a composer has tables in the database; looking makes neither these nor a file.

    Args:
        settings: Name the database.

    Raises:
        ConfigError: If the URL is not allowed or the database cannot be reached.
        MissingExtraError: If its driver is not installed.
    """
    engine = _engine(settings.database)
    file = engine.url.database
    try:
        if engine.dialect.name == "sqlite" and not Path(file or "").is_file():
            return False
        return sqlalchemy.inspect(engine).has_table(Token.__tablename__)
    except DBAPIError as error:
        raise ConfigError(f"the database cannot be used: {_reason(error)}") from None
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    try:
        name = sqlalchemy.make_url(url).get_backend_name()
        if name not in ("sqlite", "postgresql"):
            raise ConfigError(f"database={name!r} is not allowed: give one of sqlite, postgresql")
        options: dict[str, Any] = {"pool_size": _POOL, "max_overflow": 0, "hide_parameters": True}
        if url.startswith("sqlite"):
            options |= {"connect_args": {"timeout": _BUSY_SECONDS, "check_same_thread": False}}
        else:
            options["pool_pre_ping"] = True
        engine = sqlalchemy.create_engine(url, **options)
    except (ArgumentError, NoSuchModuleError, TypeError):
        raise ConfigError("database is not allowed: give a URL such as postgresql://user@host/name") from None
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the database needs {error.name!r}: install it with pip install 'aihwjax[postgres]'"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn a database that is gone or full into a refusal; mistakes of the program stay what they are."""
    try:
        yield
    except sqlalchemy.exc.OperationalError as error:
        reason = _reason(error)
        if "full" in reason or "No space" in reason:
            raise ServiceError(507, "storage_full", "the disk of the database is full", retry_after=60) from error
        raise ServiceError(503, "database", "the database is out of reach, try again", retry_after=5) from error
    except sqlalchemy.exc.TimeoutError as error:  # of the pool
        raise ServiceError(503, "busy", "too many requests at once, try again", retry_after=2) from error


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())[:200]
