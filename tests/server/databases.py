"""Databases for tests: a new SQLite one, and a new PostgreSQL one where there is a server or its programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

URL = os.environ.get("AIHWJAX_TEST_POSTGRES")
"""URL of a PostgreSQL server on which databases may be made."""


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, ``None`` if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = found[-1] if found else shutil.which("initdb")
    return None if path is None else Path(path).resolve().parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the URL of a PostgreSQL server: the given one, or one that is started for the tests."""
    if URL:
        yield URL
        return
    folder = programs()
    if folder is None:
        pytest.skip("no PostgreSQL: neither AIHWJAX_TEST_POSTGRES nor its programs")
    root = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has to be short
    user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses root
        shutil.chown(root, "nobody")
        user = ["setpriv", "--reuid", "nobody", "--clear-groups"]
    data, log = root / "data", root / "log"
    run = {"check": True, "cwd": root, "stdout": subprocess.DEVNULL}
    subprocess.run([*user, folder / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-N"], **run)
    options = f"-c listen_addresses='' -c unix_socket_directories={root} -c fsync=off"
    control = [*user, folder / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", log, "-o", options, "start"], **run)
    try:
        yield f"postgresql+psycopg://tests@/postgres?host={root}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **run)
        shutil.rmtree(root)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str | None:
    """Return the URL of an empty database, ``None`` for SQLite in the composer's folder."""
    return None if request.param == "sqlite" else request.getfixturevalue("empty_postgres")


@pytest.fixture
def empty_postgres(postgres: str) -> Iterator[str]:
    """Yield the URL of an empty database of PostgreSQL."""
    url = sqlalchemy.make_url(postgres).set(drivername="postgresql+psycopg")
    name = f"test_{uuid.uuid4().hex}"
    server = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()
