"""Sweeps as jobs of workers that are really killed."""

from __future__ import annotations

import io
import sys

import pytest

from aihwjax.cloud import archive
from aihwjax.cloud.sweep_section import Halving
from aihwjax.cloud.sweeping import to_document
from aihwjax.experiments import load_data, successive_halving
from aihwjax.server.core.service import Composer
from aihwjax.server.settings import ServerSettings
from aihwjax.server.views import Identity, Status
from aihwjax.sweep_results import rows_of
from tests.cloud import networks
from tests.server.helpers import eventually, queued
from tests.server.workers.jobs import ended, working

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")


@pytest.fixture
def database() -> None:
    """Processes are tested on SQLite; the database's part is tested on each kind elsewhere."""


SPACE = {"batch_size": [8, 16], "learning_rate": [0.1, 0.2]}


def packed(epochs: int, halving: Halving | None = None) -> bytes:
    """Return the archive of a sweep of four networks, in two calls."""
    sent = to_document(networks.experiment(epochs=epochs), SPACE, key=3, halving=halving)
    file = io.BytesIO()
    archive.pack(file, {**sent, "experiment": {**sent["experiment"], "max_elements_train": 64}}, networks.model())
    return file.getvalue()


@pytest.mark.slow
def test_a_killed_workers_sweep_goes_on_elsewhere_and_ends_the_same(
    composer: Composer, settings: ServerSettings, ada: Identity
) -> None:
    content = packed(6)
    calm, killed = (queued(composer, ada, name, 4, content) for name in ("calm", "killed"))
    with working(settings) as worker:
        assert ended(composer, ada, calm.id).status == Status.COMPLETED
        eventually(lambda: composer.experiment(ada, killed.id).epochs_done >= 2)
        worker.kill()
    assert not composer.experiment(ada, killed.id).status.final
    with working(settings):
        done = ended(composer, ada, killed.id)
    assert (done.status, done.attempts) == (Status.COMPLETED, 2)
    rows = [rows_of(composer.result(ada, view.id)) for view in (calm, killed)]
    assert rows[0] == rows[1] and len(rows[0]) == 4 * 6
    files = [composer.read_artefact(ada, view.id, "output") for view in (calm, killed)]
    assert files[0] == files[1]
    assert composer.experiment(ada, killed.id).metrics == done.metrics and "network" not in (done.metrics or {})


@pytest.mark.slow
def test_a_sweep_can_be_cancelled(composer: Composer, settings: ServerSettings, ada: Identity) -> None:
    view = queued(composer, ada, "long", 4, packed(10_000))
    with working(settings):
        eventually(lambda: composer.experiment(ada, view.id).status == Status.RUNNING)
        composer.cancel(ada, view.id)
        assert ended(composer, ada, view.id).status == Status.CANCELLED


@pytest.mark.slow
def test_a_halving_is_a_job(composer: Composer, settings: ServerSettings, ada: Identity) -> None:
    view = queued(composer, ada, "halving", 4, packed(2, Halving("train_loss", 2, 1)))
    with working(settings):
        assert ended(composer, ada, view.id).status == Status.COMPLETED
    own = networks.experiment(epochs=2)
    data = load_data(own, None, 64)
    table = successive_halving(own, SPACE, key=3, metric="train_loss", factor=2, data=data, progress=False)
    assert rows_of(composer.result(ada, view.id)) == table.rows
    assert sorted(row["epoch"] for row in table.last()) == [0, 0, 1, 1]
