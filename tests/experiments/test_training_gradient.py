"""Gradients of training runs: losses of the runs themselves, slopes of their mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax.errors import ConfigError
from aihwjax.experiments import LossGradient, training_gradient

POINT = {"device.up_down": 0.2, "learning_rate": 0.3}


def experiment(model: nnx.Module | None = None, **fields: Any) -> aj.BasicTraining:
    """A network of two analog layers on a separable problem."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8)).astype("float32")
    y = (x @ rng.normal(size=(8, 3))).argmax(1)
    config, rngs = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(dw_min=0.01)), nnx.Rngs(0)
    model = model or aj.nn.AnalogSequential(
        aj.nn.AnalogLinear(8, 6, config=config, rngs=rngs),
        aj.nn.Sigmoid(),
        aj.nn.AnalogLinear(6, 3, config=config, rngs=rngs),
        aj.nn.LogSoftmax(),
    )
    data = x[:160], y[:160], x[160:], y[160:]
    return aj.BasicTraining(data, model, **{"batch_size": 8, "epochs": 2, "learning_rate": 0.3, **fields})


@pytest.fixture(scope="module")
def gradient() -> Callable[..., LossGradient]:
    """Gradients of three networks."""
    return training_gradient(experiment(), list(POINT), seeds=3, way="map")


def test_losses_are_those_of_a_sweep(gradient: Callable[..., LossGradient]) -> None:
    table = aj.sweep(experiment(), [POINT], seeds=3, key=1, progress=False, way="map")
    losses = [row["valid_loss"] for row in table.last()]
    np.testing.assert_allclose(gradient(POINT, key=1).losses, losses, rtol=1e-6)


def test_another_value_and_key_need_no_other_program(gradient: Callable[..., LossGradient]) -> None:
    from jax._src import test_util

    first = gradient(POINT, key=0)
    with test_util.count_jit_compilation_cache_miss() as misses:
        second = gradient({**POINT, "device.up_down": 0.1}, key=2)
    assert misses() == 0 and not np.array_equal(first.losses, second.losses)
    np.testing.assert_array_equal(gradient(POINT, key=0).slopes["learning_rate"], first.slopes["learning_rate"])


def test_a_result_says_what_it_is(gradient: Callable[..., LossGradient]) -> None:
    found = gradient(POINT)
    assert list(found.gradient) == list(POINT)
    assert found.gradient["learning_rate"] == pytest.approx(found.slopes["learning_rate"].mean())
    assert found.error["learning_rate"] == pytest.approx(found.slopes["learning_rate"].std(ddof=1) / 3**0.5)
    assert str(found).splitlines()[0].endswith("(3 networks)") and "device.up_down" in str(found)
    assert np.isnan(LossGradient(found.losses[:1], {"a": found.losses[:1]}).error["a"])


@pytest.mark.slow
def test_slopes_are_finite_differences_of_a_sweep() -> None:
    path, width, count = "device.up_down", 0.05, 300
    own = training_gradient(experiment(), [path], seeds=150)({path: 0.2}, key=1)
    table = aj.sweep(experiment(), {path: [0.2 - width, 0.2 + width]}, seeds=count, key=1, progress=False)
    losses = np.array([row["valid_loss"] for row in table.last()]).reshape(2, count)
    slopes = (losses[1] - losses[0]) / (2 * width)
    error = np.hypot(own.error[path], slopes.std() / count**0.5)
    assert abs(own.gradient[path] - slopes.mean()) < 4 * error
    assert own.slopes[path].std() < slopes.std()


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], r"paths=\[\] is not allowed"),
        ("device.up_down", "paths='device.up_down' is not allowed"),
    ],
)
def test_bad_paths(paths: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        training_gradient(experiment(), paths)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"device.up_donw": 0.1}, "up_down"),
        ({"device.dw_min": -1.0}, "dw_min"),
        ({"batch_size": 8}, "batch_size"),
        ({"epochs": 2}, "'epochs' is not allowed"),
        ({"update_mode": "Sequential"}, "update_mode"),
        ({"device.count_pulses": True}, "count_pulses"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        training_gradient(experiment(), list(values), seeds=1)(values)


def test_a_rate_that_is_no_number_has_no_slope() -> None:
    scheduled = experiment(learning_rate=aj.step_decay(0.3, 0.5, 4))
    with pytest.raises(ConfigError, match="that of the experiment is no number"):
        training_gradient(scheduled, ["learning_rate"], seeds=1)({"learning_rate": 0.1})


def test_missing_values(gradient: Callable[..., LossGradient]) -> None:
    with pytest.raises(ConfigError, match="give a dictionary with device.up_down, learning_rate"):
        gradient({"device.up_down": 0.1})


def test_compounds_that_round_are_refused() -> None:
    config = aj.UnitCellRPUConfig(device=aj.TransferCompound(unit_cell_devices=(aj.SoftBoundsDevice(),) * 2))
    model = aj.nn.AnalogSequential(aj.nn.AnalogLinear(8, 3, config=config, rngs=nnx.Rngs(0)), aj.nn.LogSoftmax())
    with pytest.raises(ConfigError, match="DIFFERENTIABLE is not allowed with the device TransferCompound"):
        training_gradient(experiment(model=model), ["learning_rate"], seeds=1)({"learning_rate": 0.1})
