"""Accuracy over time, of many chips."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.nn import many_chips, over_time, peak_memory

X = jax.random.normal(jax.random.key(2), (40, 6))
CONFIG = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True))
MODEL = nn.AnalogLinear(6, 3, config=CONFIG, rngs=nnx.Rngs(0))
DATA = X, jnp.argmax(MODEL(X, key=0), axis=-1)
TIMES = [0.0, 1e4, 1e8]


def evaluate(**changes: Any) -> over_time.OverTime:
    """Return what three chips do at three times."""
    return aj.evaluate_over_time(**{"model": MODEL, "data": DATA, "times": TIMES, "repeats": 3, "key": 0, **changes})


def test_each_chip_has_a_value_at_each_time() -> None:
    result = evaluate()
    assert result.values.shape == (3, 3)
    assert result.mean[0] > 0.85
    assert result.name == "accuracy"
    rows = result.rows()
    assert rows[4] == {"chip": 1, "time": 1e4, "accuracy": result.values[1, 1]}
    assert len(rows) == 9
    assert len(str(result).splitlines()) == 4


def test_values_do_not_depend_on_how_many_chips_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = evaluate().values
    for at_once in (1, 2):
        monkeypatch.setattr(many_chips, "_at_once", lambda *_, n=at_once: n)
        np.testing.assert_allclose(evaluate().values, expected, atol=1e-6)


DIVIDED = """
import numpy as np, jax
from jax.sharding import Mesh
from tests.nn.test_over_time import evaluate
devices = np.array(jax.devices())
assert devices.size == 8
one = evaluate(repeats=11).values
mesh = Mesh(devices.reshape(4, 2), ("rows", "columns"))
divided = evaluate(repeats=11, mesh=mesh).values
assert divided.shape == (11, 3)
np.testing.assert_allclose(divided, one, atol=1e-6)
print("equal")
"""


def test_chips_are_divided_among_devices() -> None:
    """On eight virtual devices, which a process can only have from its start."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", DIVIDED],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]


def mean_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the mean distance of outputs from those of the model."""
    return jnp.abs(outputs - targets).mean()


def test_a_metric_of_ones_own_sees_the_drift() -> None:
    bare = nn.AnalogLinear(6, 3, config=CONFIG.replace(drift_compensation=None), rngs=nnx.Rngs(0))
    result = evaluate(model=bare, data=(X, MODEL(X, key=0)), metric=mean_error)
    assert result.name == "mean_error"
    assert np.all(np.diff(result.mean) > 0)
    assert np.all(result.std > 0)


def test_several_metrics_are_those_of_the_same_chips() -> None:
    together = aj.evaluate_over_time(MODEL, DATA, TIMES, 3, 0, metric={"hits": over_time.accuracy, "largest": largest})
    assert list(together) == ["hits", "largest"]
    assert together["hits"].name == "hits"
    np.testing.assert_allclose(together["hits"].values, evaluate().values, atol=1e-6)
    assert together["largest"].values.shape == (3, 3)
    assert np.all(np.diff(together["largest"].values, axis=0) != 0)


def largest(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the largest output."""
    return outputs.max()


def test_memory_is_estimated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate()
    seen: list[object] = []
    counted = peak_memory._counted
    monkeypatch.setattr(peak_memory, "_counted", lambda program: (seen.append(program), counted(program))[1])
    evaluate()
    assert not seen


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": {}}, "metric={} is not allowed: give a function of outputs and targets, or several by name"),
        ({"metric": {"hits": 3}}, "metric 'hits': 3 is not allowed: give a function of outputs and targets"),
        ({"metric": lambda y, _: y}, r"metric '<lambda>' of shape \(40, 3\) is not allowed: give one number of all"),
        ({"times": [1.0, 0.5]}, "times with 0.5 after 1 is not allowed: give them ascending"),
        ({"times": [-1.0, 0.5]}, "t=-1 is not allowed: give seconds after programming, at least 0"),
        ({"times": []}, r"times of shape \(0,\) is not allowed: give a list of seconds"),
        ({"repeats": 0}, "repeats=0 is not allowed: give a whole number of at least 1"),
        ({"memory": 100}, "memory=100 is not allowed: one chip takes about .* bytes, give at least that"),
        ({"mesh": "chips"}, "mesh=str is not allowed: give a jax.sharding.Mesh, or None"),
        ({"memory": -1}, "memory=-1 is not allowed: give a number of bytes"),
        ({"data": X}, "data=.* is not allowed: give a pair of inputs and targets"),
        ({"data": (X, jnp.zeros(3))}, r"inputs \(40, 6\) and targets \(3,\) is not allowed: give one target an input"),
        ({"model": nnx.Linear(2, 3, rngs=nnx.Rngs(0))}, "model=Linear has no analog layer"),
        ({"model": nn.AnalogLinear(6, 3, rngs=nnx.Rngs(0))}, "noise_model=None is not allowed for a chip"),
    ],
)
def test_bad_input_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(aj.AihwjaxError, match=message) as caught:
        evaluate(**changes)
    assert "\n" not in str(caught.value)
