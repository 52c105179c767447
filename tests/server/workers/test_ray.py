"""Jobs as tasks of Ray: of a cluster on this machine if Ray is installed, and of a stand-in anyway."""

from __future__ import annotations

import importlib.util
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from aihwjax.errors import ConfigError, MissingExtraError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.workers.executors import executor
from aihwjax.server.workers.executors.ray import RayExecutor
from aihwjax.server.workers.worker import Worker
from tests.server.helpers import eventually, queued
from tests.server.workers.jobs import Outcome, packed, share_compiled

INSTALLED = importlib.util.find_spec("ray") is not None


@pytest.fixture
def database() -> None:
    """The database plays no part here."""


class FakeRay(types.ModuleType):
    """What the executor uses of Ray, with threads for nodes; the real one is a large package."""

    def __init__(self) -> None:
        super().__init__("ray")
        self._pool = ThreadPoolExecutor(2)
        self.options: list[dict[str, object]] = []
        self.address: str | None = None

    def is_initialized(self) -> bool:
        return self.address is not None

    def init(self, address: str, log_to_driver: bool) -> None:
        if address == "nowhere":
            raise ConnectionError("no cluster\nthere")
        self.address = address

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, "GPU": 1.0}

    def remote(self, function):
        def options(**values):
            self.options.append(values)
            return types.SimpleNamespace(remote=lambda *given: self._pool.submit(function, *given))

        return types.SimpleNamespace(options=options)

    def wait(self, futures: list[Future], timeout: float) -> tuple[list[Future], list[Future]]:
        done, left = wait(futures, timeout)
        return list(done), list(left)

    def get(self, future: Future):
        return future.result()

    def cancel(self, future: Future, force: bool) -> None:
        assert not force
        future.cancel()


@pytest.fixture(params=["stand-in", "ray"])
def ray(request, monkeypatch) -> Iterator[types.ModuleType]:
    if request.param == "stand-in":
        fake = FakeRay()
        monkeypatch.setitem(sys.modules, "ray", fake)
        yield fake
        return
    if not INSTALLED:
        pytest.skip("Ray is not installed: only the stand-in is used")
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_a_job_runs_as_a_task(ray, composer, settings, ada, tmp_path):
    share_compiled(settings)
    view = queued(composer, ada, "tiny", 3, packed(3))
    worker = Worker(settings, where=RayExecutor())
    assert worker.step(threading.Event())
    done = composer.experiment(ada, view.id)
    assert (done.status, done.error) == ("completed", None)
    assert len(Outcome(composer, ada, view.id, tmp_path).metrics) == 3
    worker.close()


@pytest.mark.slow
def test_a_task_is_cancelled(ray, composer, settings, ada):
    share_compiled(settings)
    view = queued(composer, ada, "tiny", 10_000, packed(10_000))
    worker = Worker(settings, where=RayExecutor())
    thread = ThreadPoolExecutor(1)
    worked = thread.submit(worker.step, threading.Event())
    eventually(lambda: composer.experiment(ada, view.id).epochs_done)
    composer.cancel(ada, view.id)
    assert worked.result(120)
    assert composer.experiment(ada, view.id).status == "cancelled"
    worker.close()


def test_a_task_that_breaks_is_a_failed_attempt(ray, composer, settings, ada, monkeypatch):
    class Hiding(RayExecutor):
        """Hands over a folder that the node does not have."""

        def start(self, task):
            (task.folder / "input.tar").unlink()
            return super().start(task)

    view = queued(composer, ada, "tiny", 3, packed(3))
    worker = Worker(settings, where=Hiding())
    for _ in range(settings.attempts):
        assert worker.step(threading.Event())
    done = composer.experiment(ada, view.id)
    assert done.status == "failed" and "all nodes share" in done.error
    worker.close()


def test_tasks_ask_for_what_they_need(monkeypatch, tmp_path):
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    where = executor(ServerSettings(tmp_path, executor="ray", ray_address="head:6379"))
    assert fake.address == "head:6379"
    for device in ("cpu", "gpu"):
        task = types.SimpleNamespace(name="x", device=device, folder=tmp_path)
        _, future = where.start(task)
        assert future.result()[0] == 1
    assert [entry["num_gpus"] for entry in fake.options] == [0, 1]
    assert all(entry["max_retries"] == 0 for entry in fake.options)


def test_a_cluster_that_is_not_there_and_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    with pytest.raises(ConfigError, match="no Ray cluster at 'nowhere': no cluster there"):
        RayExecutor("nowhere")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"aihwjax\[ray\]"):
        RayExecutor()
