"""A run that is killed at any moment, again and again, ends like an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from flax import nnx

from aihwjax.experiments import MetricsFile, fit
from aihwjax.experiments.arrays import digest, to_arrays
from tests.experiments import small

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 30


def run(folder: Path) -> str:
    """Train with checkpoints in ``folder`` and return a hash of the trained model."""
    experiment = small.experiment(epochs=EPOCHS)
    report = MetricsFile(folder / "metrics.jsonl")
    model, _ = fit(experiment, key=11, reports=[report], checkpoint_dir=folder / "checkpoints")
    return digest(to_arrays(nnx.state(model)))


SCRIPT = (
    "from pathlib import Path; from tests.experiments.test_kill import run; import sys; print(run(Path(sys.argv[1])))"
)


def start(folder: Path) -> subprocess.Popen[str]:
    cache = str(jax.config.jax_compilation_cache_dir)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": cache}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def written(folder: Path) -> float:
    """Return the time of the last change of the metrics, 0 if there are none."""
    path = folder / "metrics.jsonl"
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
@pytest.mark.parametrize("kills", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_killed_runs_end_like_an_undisturbed_one(tmp_path, kills):
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    calm.mkdir()
    stormy.mkdir()
    process = start(calm)
    wanted, error = process.communicate()
    assert process.returncode == 0, error
    moment = random.Random(kills)
    done = 0
    for _ in range(kills):
        process, before = start(stormy), written(stormy)
        while written(stormy) == before and process.poll() is None:
            time.sleep(0.005)  # until it trains
        time.sleep(moment.uniform(0.0, 0.6))  # somewhere within the next few epochs and their checkpoints
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done += process.returncode == -signal.SIGKILL
    assert done >= 1
    process = start(stormy)
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert out == wanted
    first, second = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (calm, stormy)
    )
    assert [entry["epoch"] for entry in second] == list(range(EPOCHS))
    for mine, theirs in zip(first, second, strict=True):
        assert {**mine, "time_epoch": 0} == {**theirs, "time_epoch": 0}
