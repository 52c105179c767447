"""A composer's pages in this process, whose worker is played by the test."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from aihwjax.server.core import leases
from aihwjax.server.core.service import Composer
from aihwjax.server.core.validation import Checker
from aihwjax.server.faces.app import create_app
from aihwjax.server.settings import ServerSettings
from aihwjax.server.views import Identity

EPOCHS = 10
DEVICE = {"class": "ConstantStepDevice", "dw_min": 0.001, "up_down": 0.0, "drift": {"class": "Drift", "nu": 0.1}}
TILE = {"class": "TileConfig", "device": DEVICE, "forward": {"class": "IOParameters", "inp_res": 0.0079}}
DOCUMENT: dict[str, Any] = {
    "experiment": {"dataset": "mnist10k", "batch_size": 64, "loss_function": "NLLLoss", "learning_rate": 0.2, "key": 3},
    "model": {
        "class": "AnalogSequential",
        "layers": [
            {"class": "Flatten"},
            {"class": "AnalogLinear", "in_features": 784, "out_features": 64, "config": TILE},
            {"class": "Sigmoid"},
            {"class": "AnalogLinear", "in_features": 64, "out_features": 10, "config": TILE},
        ],
    },
}
LAYERS = [
    "Flatten()",
    "AnalogLinear(784, 64, ConstantStepDevice)",
    "Sigmoid()",
    "AnalogLinear(64, 10, ConstantStepDevice)",
]


def metrics(epoch: int) -> dict[str, Any]:
    """Return metrics of an epoch, better from one to the next."""
    rest = 0.8**epoch
    return {
        "epoch": epoch,
        "accuracy": 0.95 - 0.6 * rest,
        "train_loss": 0.1 + 1.8 * rest,
        "valid_loss": 0.2 + 1.6 * rest,
        "time_epoch": 1.5,
    }


def archive(document: dict[str, Any]) -> bytes:
    """Return an archive with a document and no parameters."""
    content, file = json.dumps(document).encode(), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("experiment.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


class Site:
    """A composer and where its pages are."""

    def __init__(self, app: Any, core: Composer) -> None:
        self.app = app
        self.core = core
        self.url = ""
        self._tokens: dict[str, str] = {}
        self._cursors: dict[str, leases.Cursor] = {}
        self._claims: dict[str, leases.Claim] = {}

    def token(self, user: str = "ann", **fields: Any) -> str:
        """Return the token of a user, who is made if new."""
        if user not in self._tokens:
            self._tokens[user] = self.core.create_token(user, **fields)
        return self._tokens[user]

    def identity(self, user: str = "ann") -> Identity:
        """Return who a user is."""
        return self.core.authenticate(self.token(user))

    def waiting(self, name: str = "an experiment", user: str = "ann", content: bytes | None = None) -> str:
        """Return the id of an experiment that waits for a worker."""
        who = self.identity(user)
        made = self.core.create(who, name=name)
        self.core.store_archive(who, made.id, io.BytesIO(archive(DOCUMENT) if content is None else content))
        return self.core.submit(who, made.id).id

    def running(self, name: str = "an experiment", user: str = "ann", epochs: int = 0, **fields: Any) -> str:
        """Return the id of an experiment that a worker has taken, and of which some epochs are done."""
        experiment_id = self.waiting(name, user, **fields)
        self.take(experiment_id)
        self.report(experiment_id, [metrics(epoch) for epoch in range(epochs)], ["the first line"])
        return experiment_id

    def take(self, experiment_id: str) -> None:
        """Let a worker take an experiment that waits."""
        with self.core._store.writing() as session:
            held, others = leases.claim(session, "a worker", 600.0), []
            while held is not None and held.job_id != experiment_id:
                others.append(held)
                held = leases.claim(session, "a worker", 600.0)
            for other in others:
                leases.release(session, other)
        assert held is not None
        self._claims[experiment_id], self._cursors[experiment_id] = held, held.cursor

    def report(self, experiment_id: str, epochs: list[dict[str, Any]], lines: list[str] | None = None) -> None:
        """Say what a worker says."""
        held, before = self._claims[experiment_id], self._cursors[experiment_id]
        after = leases.Cursor(before.epochs + len(epochs), 1, before.log_offset + 1, before.log_lines + 1)
        news = leases.News(before, after, 1.0, epochs, lines or [])
        with self.core._store.writing() as session:
            self._cursors[experiment_id], _ = leases.report(session, held, news, 600.0)

    def complete(self, experiment_id: str) -> None:
        """Publish a result."""
        held, at = self._claims[experiment_id], self._cursors[experiment_id]
        stored = self.core._artefacts.write(f"{experiment_id}-output", [b"the result"], 100)
        with self.core._store.writing() as session:
            assert leases.complete(session, held, leases.News(at, at, 1.0), stored)

    def completed(self, name: str = "an experiment", user: str = "ann", epochs: int = EPOCHS, **fields: Any) -> str:
        """Return the id of a completed experiment."""
        experiment_id = self.running(name, user, epochs, **fields)
        self.complete(experiment_id)
        return experiment_id

    def fail(self, experiment_id: str, message: str) -> None:
        """Let a job fail for good."""
        with self.core._store.writing() as session:
            leases.fail(session, self._claims[experiment_id], message, final=True, attempts=1)

    def stop(self, experiment_id: str) -> None:
        """Give a job back, as a worker does that was asked to cancel it."""
        with self.core._store.writing() as session:
            leases.release(session, self._claims[experiment_id])


def summary(self: Checker, path: Path) -> dict[str, Any]:
    """Stand in for the check of archives, which needs a process of its own."""
    return {
        "epochs": EPOCHS,
        "parameters": 203_560,
        "dataset": "mnist10k",
        "kind": "BasicTraining",
        "layers": LAYERS,
    }


@contextlib.contextmanager
def serving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Run a composer in a folder, on a free port of this machine."""
    monkeypatch.setattr(Checker, "check", summary)
    app = create_app(ServerSettings(data_dir=folder))
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    ready, startup = threading.Event(), server.startup

    async def started(sockets: Any = None) -> None:
        await startup(sockets)
        ready.set()

    server.startup = started  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(30)
        site = Site(app, app.state.composer)
        site.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield site
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def csrf_of(text: str) -> str:
    """Return what the forms of a page bring with them."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', text)
    assert found, text
    return found[1]
