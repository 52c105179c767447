"""What the tests of the core share."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from aihwjax.server.core import leases
from aihwjax.server.core.service import Composer
from aihwjax.server.errors import ServiceError
from aihwjax.server.storage.tables import Experiment
from aihwjax.server.views import ArtefactView, ExperimentView, Identity

CONTENT = b"an archive" * 1000
SUMMARY = {"epochs": 3, "parameters": 100, "dataset": "mnist10k", "kind": "BasicTraining", "layers": []}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def link(url: str) -> tuple[str, dict[str, str]]:
    """Return artefact id and query of a signed link."""
    parts = urlsplit(url)
    assert parts.path.startswith("/files/")
    return parts.path.removeprefix("/files/"), dict(parse_qsl(parts.query))


def put(composer: Composer, who: Identity, experiment_id: str, chunks: Iterable[bytes], **more: Any) -> ArtefactView:
    return composer.receive(*link(composer.upload_url(who, experiment_id)), chunks, **more)


def queued(
    composer: Composer, who: Identity, name: str = "an experiment", epochs: int = 3, content: bytes = CONTENT
) -> ExperimentView:
    """Put an experiment into the queue without a look at its archive."""
    made = composer.create(who, name=name)
    put(composer, who, made.id, [content])
    with composer._store.writing() as session:
        leases.add(session, session.get_one(Experiment, made.id), "cpu", epochs)
    return composer.experiment(who, made.id)


def refused(call: Callable[[], object], status: int, code: str, field: str | None = None) -> ServiceError:
    """Check that a call is refused in this way."""
    with pytest.raises(ServiceError) as caught:
        call()
    assert (caught.value.status, caught.value.code, caught.value.field) == (status, code, field)
    assert caught.value.message and "\n" not in caught.value.message
    return caught.value


def eventually(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
    """Wait until a condition holds and return its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value
