"""Jobs that are really run, by workers and processes that are really killed."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aihwjax.server.core.service import Composer
from aihwjax.server.settings import ServerSettings
from aihwjax.server.views import ExperimentView, Identity, Status
from aihwjax.server.workers.executors import Ended, Task
from aihwjax.server.workers.executors.local import LocalExecutor
from aihwjax.server.workers.executors.process import Process
from aihwjax.server.workers.worker import Worker
from tests.server.helpers import eventually, queued
from tests.server.workers.jobs import Outcome, WorkerProcess, ended, packed, share_compiled, submitted, working

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")

EPOCHS = 25


@pytest.fixture
def database() -> None:
    """Processes are tested on SQLite; the database's part is tested on each kind elsewhere."""


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Outcome:
    """Return the outcome of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("calm")
    settings = ServerSettings(folder / "composer")
    composer = Composer(settings)
    who = composer.authenticate(composer.create_token("ada"))
    view = trained(composer, who, EPOCHS)
    with working(settings):
        assert ended(composer, who, view.id).status == Status.COMPLETED
    outcome = Outcome(composer, who, view.id, folder)
    assert [entry["epoch"] for entry in outcome.metrics] == list(range(EPOCHS))
    assert list(settings.work_dir.iterdir()) == []
    composer.close()
    return outcome


def trained(composer: Composer, who: Identity, epochs: int, **changes: object) -> ExperimentView:
    """Queue a tiny experiment; that its archive is checked first is tested elsewhere."""
    return queued(composer, who, "tiny", epochs, packed(epochs, **changes))


def reached(composer, who, experiment_id: str, epochs: int) -> None:
    eventually(lambda: composer.experiment(who, experiment_id).epochs_done >= epochs)


def job_process(settings: ServerSettings) -> int | None:
    """Return the number of the process that runs a job in a composer's folder."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"aihwjax.server.workers.job" in command and str(settings.work_dir).encode() in command:
            return int(folder.name)
    return None


def test_a_job_is_run_and_watched(composer, settings, ada, tmp_path):
    view = submitted(composer, ada, packed(2))
    assert (view.status, view.epochs, view.summary["dataset"]) == (Status.WAITING, 2, "mnist10k")
    with working(settings):
        done = ended(composer, ada, view.id)
    assert (done.status, done.error, done.epochs_done, done.attempts) == (Status.COMPLETED, None, 2, 1)
    lines = [event.data["text"] for event in composer.events(ada, view.id) if event.kind == "log"]
    assert any(line.startswith("epoch 1: training loss") for line in lines)
    outcome = Outcome(composer, ada, view.id, tmp_path)
    assert 0 <= outcome.metrics[1]["accuracy"] <= 1 and outcome.metrics[1]["train_loss"] > 0


def test_a_killed_workers_job_goes_on_elsewhere_and_ends_the_same(composer, settings, ada, calm, tmp_path):
    view = trained(composer, ada, EPOCHS)
    with working(settings) as worker:
        reached(composer, ada, view.id, 2)
        worker.kill()
    assert not composer.experiment(ada, view.id).status.final
    if sys.platform == "linux":
        eventually(lambda: job_process(settings) is None)  # it ends with its worker
    with working(settings):
        done = ended(composer, ada, view.id)
    assert (done.status, done.attempts) == (Status.COMPLETED, 2)
    assert Outcome(composer, ada, view.id, tmp_path) == calm
    lines = [event.data["text"] for event in composer.events(ada, view.id) if event.kind == "log"]
    assert any(line.startswith("going on after epoch") for line in lines)
    assert len(lines) == len(set(lines))  # no line twice


@pytest.mark.slow
def test_a_jobs_files_may_be_in_s3(settings, s3, calm, tmp_path):
    settings = dataclasses.replace(settings, artefacts_url=s3)
    composer = Composer(settings)
    who = composer.authenticate(composer.create_token("ada"))
    view = trained(composer, who, EPOCHS)
    with working(settings):
        assert ended(composer, who, view.id).status == Status.COMPLETED
    assert Outcome(composer, who, view.id, tmp_path) == calm
    assert not (settings.data_dir / "artefacts").exists()
    composer.close()


@pytest.mark.slow
def test_kills_at_random_moments_lose_and_double_nothing(composer, settings, ada, calm, tmp_path):
    settings = dataclasses.replace(settings, attempts=50)
    views = [trained(composer, ada, EPOCHS) for i in range(2)]
    moment = random.Random(5)

    def said() -> int:
        return sum(len(composer.events(ada, view.id)) for view in views)

    for number in range(4):
        before, worker = said(), WorkerProcess(settings)
        if number % 2:
            eventually(lambda before=before: said() > before + 4)  # until it trains
        time.sleep(moment.uniform(0.0, 1.0))  # before a claim, while a job starts, in an epoch, at its end
        worker.kill()
    with working(settings):
        done = [ended(composer, ada, view.id) for view in views]
    for view in done:
        assert view.status == Status.COMPLETED, view.error
        assert Outcome(composer, ada, view.id, tmp_path) == calm
        words = [event.data["status"] for event in composer.events(ada, view.id) if event.kind == "state"]
        assert words.count("completed") == 1 and words[-1] == "completed"
        entries = [event.data["epoch"] for event in composer.events(ada, view.id) if event.kind == "epoch"]
        assert entries == list(range(EPOCHS))
    assert composer.counts() == {"waiting": 0, "running": 0, "completed": 2, "failed": 0, "cancelled": 0}


@pytest.mark.slow
def test_a_stopped_worker_gives_its_job_back_at_once(composer, settings, ada):
    view = trained(composer, ada, 1000)
    with working(settings) as worker:
        reached(composer, ada, view.id, 1)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(120) == 0
    assert composer.experiment(ada, view.id).status == Status.WAITING


@pytest.mark.slow
def test_a_running_job_is_cancelled(composer, settings, ada):
    view = trained(composer, ada, 10_000)
    with working(settings):
        reached(composer, ada, view.id, 1)
        composer.cancel(ada, view.id)
        done = ended(composer, ada, view.id)
        assert done.status == Status.CANCELLED
        eventually(lambda: list(settings.work_dir.iterdir()) == [])


def test_a_job_that_takes_too_long_fails(tmp_path):
    settings = ServerSettings(tmp_path / "composer", max_seconds=6.0)
    composer = Composer(settings)
    who = composer.authenticate(composer.create_token("ada"))
    view = trained(composer, who, 10_000)
    with working(settings):
        done = ended(composer, who, view.id)
    assert done.status == Status.FAILED and "more than the 6 s" in done.error
    composer.close()


def test_a_job_that_needs_too_much_memory_fails(tmp_path):
    settings = ServerSettings(tmp_path / "composer", memory_bytes=50 << 20)
    composer = Composer(settings)
    who = composer.authenticate(composer.create_token("ada"))
    view = trained(composer, who, 2)
    with working(settings):
        done = ended(composer, who, view.id)
    assert (done.status, done.attempts) == (Status.FAILED, 1)
    assert "more memory than the 0.0488 GiB" in done.error
    composer.close()


def test_a_mistake_in_the_experiment_fails_once_with_its_words(composer, settings, ada):
    view = trained(composer, ada, 2, dataset="FashionMNIST")
    empty = settings.data_dir / "none"
    empty.mkdir()
    with working(dataclasses.replace(settings, dataset_root=empty)):
        done = ended(composer, ada, view.id)
    assert (done.status, done.attempts) == (Status.FAILED, 1)
    assert "FashionMNIST" in done.error and "\n" not in done.error


class Crashing(LocalExecutor):
    """Kills each process as soon as it runs."""

    def start(self, task: Task) -> Process:
        run = super().start(task)
        os.kill(run._process.pid, signal.SIGSEGV)
        return run


def test_a_crashing_job_is_tried_again_and_then_fails(composer, settings, ada):
    view = trained(composer, ada, 2)
    worker = Worker(settings, where=Crashing())
    for _ in range(settings.attempts):
        assert worker.step(threading.Event())
    assert not worker.step(threading.Event())
    done = composer.experiment(ada, view.id)
    assert (done.status, done.attempts) == (Status.FAILED, 3)
    assert f"signal {signal.SIGSEGV:d}" in done.error
    worker.close()


class Frozen(LocalExecutor):
    """Runs the job, but its worker sleeps too long at the first look, as a machine that is suspended."""

    def __init__(self, asleep: threading.Event, awake: threading.Event) -> None:
        self._asleep, self._awake = asleep, awake

    def poll(self, run: Process) -> Ended | None:
        if not self._asleep.is_set():
            self._asleep.set()
            assert self._awake.wait(240)
        return super().poll(run)


@pytest.mark.slow
def test_a_worker_that_slept_through_its_lease_can_change_nothing(composer, settings, ada, calm, tmp_path):
    view = trained(composer, ada, EPOCHS)
    share_compiled(settings)
    asleep, awake = threading.Event(), threading.Event()
    sleeper = Worker(settings, "sleeper", where=Frozen(asleep, awake))
    slept = ThreadPoolExecutor(1).submit(sleeper.step, threading.Event())
    assert asleep.wait(240)
    other = Worker(settings, "other")
    held = eventually(other.claim)
    assert (held.lease, held.attempts) == (2, 2)
    awake.set()
    assert slept.result(240)  # its process, which holds the folder, is stopped, and it writes nothing
    now = composer.experiment(ada, view.id)
    assert (now.status, now.attempts, now.output_id) == (Status.RUNNING, 2, None)
    other.work(held, threading.Event())
    assert Outcome(composer, ada, view.id, tmp_path) == calm
    sleeper.close()
    other.close()


@pytest.mark.slow
def test_a_result_that_was_not_handed_in_is_not_computed_again(composer, settings, ada, calm, tmp_path):
    view = trained(composer, ada, EPOCHS)
    share_compiled(settings)

    class Lost(BaseException):
        pass

    class Losing(LocalExecutor):
        def poll(self, run: Process) -> Ended | None:
            ended = super().poll(run)
            if ended is not None:
                raise Lost
            return None

    worker = Worker(settings, where=Losing())
    with pytest.raises(Lost):
        worker.step(threading.Event())
    assert (settings.work_dir / view.id / "output").exists()
    before = (settings.work_dir / view.id / "output").stat().st_mtime_ns
    worker.close()
    with working(settings):
        assert ended(composer, ada, view.id).status == Status.COMPLETED
    assert before < time.time_ns()
    assert Outcome(composer, ada, view.id, tmp_path) == calm
    starts = [
        event for event in composer.events(ada, view.id) if event.kind == "log" and "epoch 0: " in event.data["text"]
    ]
    assert len(starts) == 1
