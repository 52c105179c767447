"""A composer's app in this process, without workers: the tests play the worker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from aihwjax.server.core import leases
from aihwjax.server.core.service import Composer
from aihwjax.server.core.validation import Checker
from aihwjax.server.faces.app import create_app
from aihwjax.server.settings import ServerSettings

ARCHIVE = b"an archive that the test's check takes"
METRICS: list[dict[str, Any]] = [
    {"epoch": 0, "accuracy": 0.5, "train_loss": 2.0, "valid_loss": 1.5, "time_epoch": 0.1},
    {"epoch": 1, "accuracy": 0.75, "train_loss": None, "valid_loss": 1.25, "time_epoch": 0.1},
]


class Server:
    """A composer and a client of it."""

    def __init__(self, client: TestClient, core: Composer) -> None:
        self.client = client
        self.core = core
        self.tokens: dict[str, str] = {}

    def user(self, name: str = "ann", **fields: Any) -> dict[str, str]:
        """Return the headers of a user, who is made if new."""
        if name not in self.tokens:
            self.tokens[name] = self.core.create_token(name, **fields)
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    def api(self, method: str, path: str, user: str = "ann", **fields: Any) -> Any:
        """Make a call of the API as a user."""
        headers = {**self.user(user), **fields.pop("headers", {})}
        return self.client.request(method, f"/api/v1{path}", headers=headers, **fields)

    def created(self, user: str = "ann", **fields: Any) -> tuple[str, str]:
        """Make an experiment; return its id and where its archive goes."""
        answer = self.api("POST", "/experiments", user, json={"name": "a name", **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()["experiment"]["id"], answer.json()["upload"]["url"]

    def waiting(self, user: str = "ann") -> str:
        """Return the id of an experiment whose job waits."""
        experiment_id, url = self.created(user)
        assert self.client.put(url, content=ARCHIVE).status_code == 204
        answer = self.api("POST", f"/experiments/{experiment_id}/submit", user)
        assert answer.status_code == 200, answer.text
        return experiment_id

    def start(self) -> leases.Claim:
        """Claim the next job."""
        with self.core._store.writing() as session:
            held = leases.claim(session, "a worker", 60.0)
        assert held is not None
        return held

    def say(self, held: leases.Claim, epochs: list[dict[str, Any]], lines: list[str], done: int = 0) -> leases.News:
        """Return what a worker says about ``epochs`` after ``done`` of them."""
        before = leases.Cursor(done, 0, 0, 0)
        return leases.News(before, leases.Cursor(done + len(epochs), 0, 0, 0), 0.1, epochs, lines)

    def complete(self, held: leases.Claim) -> None:
        """Publish a result for a job."""
        stored = self.core._artefacts.write(f"{held.job_id}-output", [b"the result"], 100)
        with self.core._store.writing() as session:
            assert leases.complete(session, held, self.say(held, METRICS, ["a line"]), stored)

    def fail(self, held: leases.Claim, message: str) -> None:
        """Let a job fail for good."""
        with self.core._store.writing() as session:
            leases.fail(session, held, message, final=True, attempts=1)

    def completed(self, user: str = "ann") -> str:
        """Return the id of a completed experiment."""
        experiment_id = self.waiting(user)
        held = self.start()
        assert held.job_id == experiment_id
        self.complete(held)
        return experiment_id


def summary(self: Checker, path: Path) -> dict[str, Any]:
    """Stand in for the check of archives, which needs a process of its own."""
    return {"epochs": len(METRICS), "parameters": 40, "dataset": "mnist10k", "kind": "BasicTraining", "layers": []}


@contextlib.contextmanager
def serving(folder: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Iterator[Server]:
    """Run a composer in a folder."""
    monkeypatch.setattr(Checker, "check", summary)
    app = create_app(ServerSettings(data_dir=folder, **fields))
    # what the app doesn't handle must not look like an answer
    with TestClient(app, raise_server_exceptions=True, follow_redirects=False) as client:
        yield Server(client, app.state.composer)
