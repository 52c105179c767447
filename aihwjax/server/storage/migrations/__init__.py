"""Migrations of the database, applied when a composer starts.

A change of the tables is a new module in ``versions``; a test compares what they build with
:mod:`aihwjax.server.storage.tables`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

_LOCK = 7_290_164_513  # any number that nobody else takes


def upgrade(connection: Connection) -> None:
    """Bring the tables up to date, in the connection's transaction; others who try wait.

    Args:
        connection: With a transaction that may write.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    script = ScriptDirectory(str(Path(__file__).parent))

    def steps(revision: Any, context: Any) -> Any:
        return script._upgrade_revs("head", revision)  # as alembic.command.upgrade does

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()
