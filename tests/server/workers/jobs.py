"""Small experiments that are really run, and processes that run them."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flax import nnx

from aihwjax import nn
from aihwjax.cloud import archive, document
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.experiments import BasicTraining
from aihwjax.experiments.arrays import digest
from aihwjax.experiments.storing import arrays_of
from aihwjax.server.core.service import Composer
from aihwjax.server.errors import ServiceError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.views import ExperimentView, Identity
from aihwjax.tile.config import SingleRPUConfig
from tests import programs
from tests.server.helpers import eventually, put

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = 64


def packed(epochs: int = 3, key: int = 7, **changes: Any) -> bytes:
    """Return the archive of a tiny experiment; its initial weights are drawn from the key."""
    config = SingleRPUConfig(device=ConstantStepDevice(dw_min=0.01))
    layer = nn.AnalogLinear(784, 10, config=config, rngs=nnx.Rngs(0))
    model = nn.AnalogSequential(nn.Flatten(), layer, nn.LogSoftmax())
    fields = {"dataset": "mnist10k", "batch_size": 8, "learning_rate": 0.1, "epochs": epochs, **changes}
    described = document.to_document(BasicTraining(model=model, **fields), key, EXAMPLES)
    file = io.BytesIO()
    archive.pack(file, described)
    return file.getvalue()


def submitted(composer: Composer, who: Identity, content: bytes, name: str = "tiny") -> ExperimentView:
    """Upload and submit an archive."""
    made = composer.create(who, name=name)
    put(composer, who, made.id, [content])
    return composer.submit(who, made.id)


class Outcome:
    """What a job has come to: the metrics without times, and a hash of the trained numbers."""

    def __init__(self, composer: Composer, who: Identity, experiment_id: str, folder: Path) -> None:
        self.metrics = [_timeless(entry) for entry in composer.result(who, experiment_id)]
        path = folder / f"{experiment_id}.tar"
        path.write_bytes(composer.read_artefact(who, experiment_id, "output"))
        described = archive.read(path)
        assert [_timeless(entry) for entry in described.document["metrics"]] == self.metrics
        self.digest = digest(arrays_of(described.experiment.model))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and (self.metrics, self.digest) == (other.metrics, other.digest)

    __hash__ = None  # type: ignore[assignment]


def _timeless(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "time_epoch"}


def share_compiled(settings: ServerSettings) -> None:
    """Let the jobs of a composer use the programs that other tests compiled."""
    settings.prepare()
    if not settings.compiled_dir.is_symlink():
        shutil.rmtree(settings.compiled_dir)
        programs.folder().mkdir(parents=True, exist_ok=True)
        settings.compiled_dir.symlink_to(programs.folder())


class WorkerProcess:
    """A worker as a server starts it."""

    def __init__(self, settings: ServerSettings) -> None:
        share_compiled(settings)
        command = [sys.executable, "-m", "aihwjax.server.workers.worker"]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "NPROC": "1", "OMP_NUM_THREADS": "1"}
        self.log = (settings.data_dir / "worker.log").open("ab")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=self.log, cwd=ROOT, env=environment)
        self.process.stdin.write(settings.to_json().encode() + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """Kill it, as the system does when it runs out of memory."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def stop(self) -> None:
        """Tell it to stop, and wait."""
        self.process.stdin.close()
        self.process.wait(120)
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.log.close()


@contextlib.contextmanager
def working(settings: ServerSettings) -> Iterator[WorkerProcess]:
    """Run a worker meanwhile."""
    worker = WorkerProcess(settings)
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.stop()


def ended(composer: Composer, who: Identity, experiment_id: str, seconds: float = 240.0) -> ExperimentView:
    """Wait until an experiment has ended, and return it."""

    def look() -> ExperimentView | None:
        view = composer.experiment(who, experiment_id)
        return view if view.status.final else None

    return eventually(look, seconds)


def step(worker: Any, stop: threading.Event | None = None) -> bool:
    """Let a worker of this process run a job."""
    return worker.step(stop or threading.Event())


__all__ = [
    "Outcome",
    "ServiceError",
    "WorkerProcess",
    "ended",
    "packed",
    "share_compiled",
    "step",
    "submitted",
    "working",
]
