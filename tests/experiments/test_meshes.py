"""Runs divided among devices and processes are those of one device."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

import aihwjax as aj
from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments.data.dataset import StreamedSplits
from tests.experiments.meshes import experiment as meshes_experiment
from tests.experiments.meshes import told
from tests.experiments.small import experiment

ROOT = Path(__file__).resolve().parents[2]


def started(devices: int, *words: str) -> subprocess.Popen[str]:
    """Start a process with so many virtual devices, which it can only have from its start."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    flags += " --xla_backend_optimization_level=0"
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    command = [sys.executable, "-m", "tests.experiments.meshes", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process: subprocess.Popen[str]) -> None:
    text, _ = process.communicate()
    assert process.returncode == 0, text[-4000:]


def compare(run: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse a run that differs by more than rounding, after which now and then a pulse is sent or not."""
    assert [entry["epoch"] for entry in run["metrics"]] == [entry["epoch"] for entry in expected["metrics"]]
    for mine, theirs in zip(run["metrics"], expected["metrics"], strict=True):
        assert mine.keys() == theirs.keys()
        np.testing.assert_allclose(list(mine.values()), list(theirs.values()), rtol=2e-3)
    for mine, theirs in zip(run["weights"], expected["weights"], strict=True):
        difference = np.abs(np.array(mine) - np.array(theirs))
        assert np.median(difference) < 1e-5 and difference.max() < 0.03  # a few pulses of 0.01


@pytest.mark.slow
def test_a_run_on_meshes_is_that_of_one_device(tmp_path: Path) -> None:
    """The checkpoint of a mesh of eight is restored onto one of four by two; sweeps are equal bit for bit."""
    finished(started(8, "one", str(tmp_path)))
    found = json.loads((tmp_path / "one.json").read_text())
    compare(found["meshes, one after the other"], found["one device"])
    one, divided = found["sweeps"]
    assert len(one) == 9 and divided == one


@pytest.mark.exhaustive
def test_a_run_of_two_processes_is_that_of_one_device(tmp_path: Path) -> None:
    """Each process has half of the examples and of the devices, and sees the same run."""
    expected = told(*aj.fit(meshes_experiment(), key=1, progress=False))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [started(4, "part", str(number), port, str(tmp_path)) for number in range(2)]
    for process in processes:
        finished(process)
    first, second = (json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2))
    assert first == second
    compare(first, expected)


def of_one(*names: str) -> Mesh:
    return Mesh(np.array(jax.devices()[:1]).reshape((1,) * len(names)), names)


def test_a_mesh_of_one_device_changes_nothing() -> None:
    run = experiment(epochs=1)
    (_, one), (_, other) = (aj.fit(run, key=0, progress=False, mesh=m) for m in (None, of_one("batch", "tiles")))
    assert other[0]["train_loss"] == pytest.approx(one[0]["train_loss"], rel=1e-5)
    assert other[0]["accuracy"] == one[0]["accuracy"]


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ("batch", "mesh=str is not allowed: give a jax.sharding.Mesh, or None"),
        (of_one("batches"), "an axis 'batches' is not allowed.*did you mean 'batch'"),
    ],
)
def test_a_mesh_that_is_none_is_refused(mesh: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        aj.fit(experiment(), progress=False, mesh=mesh)


def test_a_sweep_refuses_what_is_no_mesh() -> None:
    with pytest.raises(ConfigError, match="mesh=int is not allowed"):
        aj.sweep(experiment(), {"learning_rate": [0.1]}, progress=False, mesh=8)  # type: ignore[arg-type]


def test_a_stream_is_refused_on_a_mesh() -> None:
    run = experiment()
    arrays = aj.data.from_arrays(*(np.asarray(a) for a in run.dataset.load())).load()  # type: ignore[union-attr]
    streamed = StreamedSplits(*arrays)
    with pytest.raises(DataError, match="stream are not allowed on a mesh"):
        aj.fit(run, streamed, progress=False, mesh=of_one("batch"))
