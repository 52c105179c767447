"""A sweep that is killed at any moment, again and again, ends with the table of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import pytest

from aihwjax.errors import CheckpointError
from aihwjax.experiments import LogUniform, sampled, sweep
from aihwjax.experiments.sweeping import running
from aihwjax.experiments.sweeping.engine import Call, Engine
from tests.experiments.sweeping_small import KEY, exact

ROOT = Path(__file__).resolve().parents[2]
POINTS = sampled({"learning_rate": LogUniform(0.01, 1e7)}, 9, key=1)
SCRIPT = "import sys; from tests.experiments.test_sweep_kill import run; run(sys.argv[1], 400)"


def run(folder: str | Path, epochs: int = 5, **options: Any) -> Any:
    """Sweep in three calls, each kept after every epoch."""
    running.EVERY_SECONDS = 0.0
    own = exact(epochs=epochs)
    engine = Engine(own, key=KEY, way="map")
    one, two = (engine.plan(POINTS[:count], [0]).memory for count in (1, 2))
    given = {"progress": False, "memory": one + 2 * (two - one), "parquet": True, **options}
    return sweep(own, POINTS, key=KEY, way="map", folder=folder, **given)


@pytest.mark.slow
def test_a_call_that_was_stopped_goes_on_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    whole = run(tmp_path / "calm", parquet=False)
    assert len(whole.plan.chunks) == 3
    advance, trained = Call.advance, []

    def stopping(call: Call, until: int, after: Any = None) -> None:
        def counting(each: Call) -> None:
            trained.append(1)
            if len(trained) == 8:  # in the second call, after its third epoch was trained, before it is kept
                raise KeyboardInterrupt
            after(each)

        advance(call, until, counting)

    monkeypatch.setattr(Call, "advance", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped")
    names = {path.name for path in (tmp_path / "stopped").iterdir()}
    assert names == {"parts", "rows-00000.jsonl", "state-00001.npz", "sweep.json"}
    before = len(trained)
    found = run(tmp_path / "stopped")
    assert found.rows == whole.rows
    lengths = [max(row["epoch"] + 1 for row in whole.rows if row["index"] // 3 == call) for call in range(3)]
    kept = before - 1 - lengths[0]
    assert kept > 0 and len(trained) - before == lengths[1] - kept + lengths[2]  # nothing kept is trained again
    names = {path.name for path in (tmp_path / "stopped").iterdir()}
    assert "table.parquet" in names and not any(name.startswith("state") for name in names)
    parts = [row for path in sorted((tmp_path / "stopped" / "parts").iterdir()) for row in _rows(parquet, path)]
    assert sorted(map(_place, parts)) == [_place(row) for row in _rows(parquet, tmp_path / "stopped" / "table.parquet")]
    assert len(parts) == len(whole.rows) == len(set(map(_place, parts)))


@pytest.mark.slow
def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    run(tmp_path, parquet=False)
    (tmp_path / "rows-00001.jsonl").unlink()
    (tmp_path / "state-00001.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"state-00001\.npz.*delete it to train its networks again"):
        run(tmp_path, parquet=False)


def _rows(parquet: Any, path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def _place(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["index"], row["seed"], row["epoch"]


def start(folder: Path) -> subprocess.Popen[str]:
    cache = str(jax.config.jax_compilation_cache_dir)
    settings = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def written(folder: Path) -> int:
    """Return the time of the last change of a file that says how far a sweep is, 0 if there is none."""
    times = [0]
    for path in folder.glob("[rs]*-*"):
        try:
            times.append(path.stat().st_mtime_ns)
        except FileNotFoundError:  # just replaced
            continue
    return max(times)


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
@pytest.mark.parametrize(
    "kills", [pytest.param(1, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.exhaustive)]
)
def test_killed_sweeps_end_with_the_same_table(tmp_path: Path, kills: int) -> None:
    pytest.importorskip("pyarrow")
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    process = start(calm)
    _, error = process.communicate()
    assert process.returncode == 0, error
    moment = random.Random(kills)
    done = 0
    for _ in range(kills):
        process, before = start(stormy), written(stormy)
        while written(stormy) == before and process.poll() is None:
            time.sleep(0.002)  # until it trains
        time.sleep(moment.uniform(0.0, 6.0 / kills))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done += process.returncode == -signal.SIGKILL
    assert done >= 1 + kills // 10
    process = start(stormy)
    _, error = process.communicate()
    assert process.returncode == 0, error
    files = {path.relative_to(calm) for path in calm.rglob("*") if path.is_file()}
    # what a kill left half written is a hidden file of its process
    left = {path.relative_to(stormy) for path in stormy.rglob("*") if path.is_file() and path.name[0] != "."}
    assert left == files and len(files) == 1 + 3 + 3 + 1
    for name in files:
        assert (stormy / name).read_bytes() == (calm / name).read_bytes(), name
