"""Sweeps over inference experiments: each row is that of the experiment run alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import ConfigError
from aihwjax.experiments import BasicInferencing, configured, sweep
from tests.experiments.sweeping_small import KEY, examples


def experiment(**fields: Any) -> BasicInferencing:
    layer = nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
    model = nn.AnalogSequential(layer, nn.LogSoftmax())
    return BasicInferencing(examples(), model, **{"times": [1.0, 100.0], "loss_function": "NLLLoss", **fields})


SPACE = {"noise_model.prog_noise_scale": [0.0, 1.0, 4.0], "inference_repeats": [1, 2]}


@pytest.mark.slow
def test_rows_are_those_of_single_runs_and_a_stopped_sweep_goes_on(tmp_path: Path) -> None:
    table = sweep(experiment(), SPACE, seeds=[0, 3], key=KEY, progress=False, folder=tmp_path)
    assert len(table.rows) == 3 * 2 * (1 + 2) * 2
    wanted = [row for row in table.rows if (row["index"], row["seed"]) == (3, 3)]
    assert [(row["chip"], row["time"]) for row in wanted] == [(0, 1.0), (0, 100.0), (1, 1.0), (1, 100.0)]
    key = jax.random.fold_in(jax.random.key(KEY), 3)
    point = {"noise_model.prog_noise_scale": 1.0, "inference_repeats": 2}
    one = configured(experiment(), point, aj.random.fold(key, "devices"))
    alone = aj.run_local_inference(one, key, progress=False)["chips"]
    names = ("chip", "time", "accuracy", "loss")
    assert [[row[name] for name in names] for row in wanted] == [[row[name] for name in names] for row in alone]  # type: ignore[literal-required]
    losses = {(row["index"], row["seed"], row["chip"], row["time"]): row["loss"] for row in table.rows}
    assert len(set(losses.values())) == 3 * 2 * 2 * 2  # each chip is another one, but the same however many there are
    assert all(losses[0, seed, 0, t] == losses[1, seed, 0, t] for seed in (0, 3) for t in (1.0, 100.0))
    (tmp_path / "rows-00003.jsonl").unlink()
    again = sweep(experiment(), SPACE, seeds=[0, 3], key=KEY, progress=False, folder=tmp_path)
    assert again.rows == table.rows
    assert "6 configurations, 2 seeds, 12 calls: 18 chips" in str(table.plan)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({"noise_model.prog_noise_scal": [1.0]}, {}, "did you mean 'prog_noise_scale'"),
        ({"inference_repeat": [1]}, {}, "did you mean 'inference_repeats'"),
        ({"inference_repeats": [0]}, {}, "inference_repeats=0 is not allowed"),
        ({"inference_repeats": [1]}, {"way": "vmap"}, "way='vmap' is for training"),
        ({"inference_repeats": [1]}, {"memory": 10}, "memory=10 is not allowed: one chip takes"),
    ],
)
def test_mistakes_are_one_line(space: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        sweep(experiment(), space, progress=False, **options)
    assert "\n" not in str(raised.value)
