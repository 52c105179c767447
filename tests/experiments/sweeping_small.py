"""A problem so small that a sweep over it is mostly compiling: one layer, three classes."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.experiments import BasicTraining, configured, fit

KEY = 5


def examples(count: int = 28) -> tuple[np.ndarray, ...]:
    """Return training and validation examples of three classes."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(count + 12, 4)).astype(np.float32), rng.integers(0, 3, count + 12)
    return x[:count], y[:count], x[count:], y[count:]


def experiment(**fields: Any) -> BasicTraining:
    """Return an experiment on one layer."""
    model = nn.AnalogSequential(nn.AnalogLinear(4, 3, rngs=nnx.Rngs(4)), nn.LogSoftmax())
    return BasicTraining(examples(), model, **{"batch_size": 8, "epochs": 2, "learning_rate": 0.2, **fields})


def two_layers() -> BasicTraining:
    """Return an experiment on two layers."""
    first, second = (nn.AnalogLinear(a, b, rngs=nnx.Rngs(a)) for a, b in ((4, 5), (5, 3)))
    model = nn.AnalogSequential(first, nn.Sigmoid(), second, nn.LogSoftmax())
    return BasicTraining(examples(), model, batch_size=8)


def exact(**fields: Any) -> BasicTraining:
    """Return an experiment on one layer without devices, which diverges at a large learning rate."""
    layer = nn.AnalogLinear(4, 2, config=aj.FloatingPointRPUConfig(), rngs=nnx.Rngs(0))
    x = examples()[0]
    given = {"loss_function": "MSELoss", "batch_size": 8, "epochs": 3, "learning_rate": 0.1, **fields}
    return BasicTraining((x, x[:, :2], x[:8], x[:8, :2]), layer, **given)


def single(own: BasicTraining, point: dict[str, Any], seed: int = 0, key: int = KEY) -> list[Any]:
    """Return the metrics of the single run of a configuration, without their times."""
    run = jax.random.fold_in(jax.random.key(key), seed)
    one = configured(own, point, aj.random.fold(run, "devices"))
    metrics = fit(one, key=run, progress=False)[1]
    return [{name: value for name, value in entry.items() if name != "time_epoch"} for entry in metrics]


def told(rows: list[dict[str, Any]], point: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what rows of a configuration say, without what tells it from others."""
    others = {"index", "seed", "diverged", *point}
    return [{name: value for name, value in row.items() if name not in others} for row in rows]
