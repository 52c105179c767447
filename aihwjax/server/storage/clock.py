"""The database's clock: the only one by which leases and dates are counted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class DatabaseNow(FunctionElement[float]):
    """SQL expression: seconds since 1970 by the clock of the database's machine."""

    type = Float()
    inherit_cache = True


def database_now() -> DatabaseNow:
    """Return an expression for the current time, in seconds since 1970."""
    return DatabaseNow()


@compiles(DatabaseNow)
def _postgresql(element: DatabaseNow, compiler: Any, **options: Any) -> str:
    # now() would be the start of the transaction
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(DatabaseNow, "sqlite")
def _sqlite(element: DatabaseNow, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"
