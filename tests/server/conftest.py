"""Fixtures of the composer's core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra composer")

from aihwjax.server.core.service import Composer
from aihwjax.server.settings import ServerSettings
from aihwjax.server.views import Identity
from tests.server.databases import database, empty_postgres, postgres
from tests.server.s3 import s3, s3_server

__all__ = ["database", "empty_postgres", "postgres", "s3", "s3_server"]


@pytest.fixture
def settings(tmp_path: Path, database: str | None) -> ServerSettings:
    """Return settings of a composer in an empty folder, on each kind of database."""
    return ServerSettings(tmp_path / "composer", database_url=database, lease_seconds=2.0)


@pytest.fixture
def composer(settings: ServerSettings) -> Iterator[Composer]:
    """Yield a composer."""
    composer = Composer(settings)
    yield composer
    composer.close()


@pytest.fixture
def ada(composer: Composer) -> Identity:
    """Return a user."""
    return composer.authenticate(composer.create_token("ada"))
