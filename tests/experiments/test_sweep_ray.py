"""Trials of Ray Tune: on a cluster of two workers if Ray is installed, and the core of a trial anyway."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from aihwjax.errors import ConfigError, MissingExtraError
from aihwjax.experiments import ray_search, ray_trainable
from aihwjax.experiments.fitting import splits_of
from aihwjax.experiments.sweeping import with_ray
from tests.experiments.sweeping_small import KEY, exact, single, told

RATES = [0.05, 0.1, 1e12, 0.4]


def test_a_trial_reports_each_epoch_and_that_it_diverged() -> None:
    own = exact()
    words = np.asarray(jax.random.key_data(jax.random.key(KEY))), str(jax.random.key_impl(jax.random.key(KEY)))
    reported: list[dict[str, Any]] = []
    point = {"learning_rate": 0.05}
    with_ray._train(own, splits_of(own), words, point, "valid_loss", np.inf, reported.append)
    of_ray = [{**entry, "trial_id": "a", "config/index": 0} for entry in reported]
    assert told(with_ray._rows(0, point, of_ray[::-1]), point) == single(own, point)
    reported.clear()
    with_ray._train(own, splits_of(own), words, {"learning_rate": 1e12}, "valid_loss", np.inf, reported.append)
    assert reported[-1] == {"epoch": len(reported) - 1, "valid_loss": np.inf, "diverged": True}


def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="does not say which value is the best"):
        ray_trainable(exact(), metric="own")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"aihwjax\[ray\]"):
        ray_search(exact(), {"learning_rate": RATES})


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray, which is a large package")
def test_a_cluster_of_two_workers_halves_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("RAY_worker_niceness", "0")  # else a busy machine lets them wait

    cache = str(jax.config.jax_compilation_cache_dir)
    settings = {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": cache, "PYTHONPATH": ":".join(sys.path)}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": settings})
    try:
        own = exact(epochs=4)
        table = ray_search(own, {"learning_rate": RATES}, KEY, factor=2, storage=tmp_path)
    finally:
        ray.shutdown()
    ended = {row["index"]: row for row in table.last()}
    assert set(ended) == set(range(len(RATES))) and table.paths == ("learning_rate",)
    assert [index for index, row in ended.items() if row["diverged"]] == [2]
    assert any(row["epoch"] == 3 for row in ended.values()) and len(table.rows) < 4 * len(RATES)
    for index, row in ended.items():
        if not row["diverged"]:
            rows = [each for each in table.rows if each["index"] == index]
            point = {"learning_rate": RATES[index]}
            assert told(rows, point) == single(own, point)[: row["epoch"] + 1]
