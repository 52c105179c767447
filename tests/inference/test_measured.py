"""Noise models from tables of measurements, in arrays and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from tests.inference.test_noise_models import MEASURED, devices

DAY = 86400.0
FILE = """conductance, spread, drift_exponent
0, 0.3, 0.1
10, 0.8, 0.06

25, 1.0, 0.05
"""


def measured(**changes: Any) -> aj.MeasuredNoiseModel:
    """Return a model with other tables."""
    return aj.MeasuredNoiseModel(**{**MEASURED, **changes})


@pytest.mark.parametrize("target", [10.0, 17.5, 25.0])
def test_devices_have_the_measured_statistics(target: float) -> None:
    # 40,000 devices: the spread is known to 0.35 %
    def at(name: str, g: float = target) -> float:
        return float(np.interp(g, MEASURED["conductance"], MEASURED[name]))

    programmed, later = devices(measured(), jnp.float32(target), jnp.float32(DAY))
    assert float(programmed.mean()) == pytest.approx(at("mean"), abs=4 * at("spread") / 200)
    assert float(programmed.std()) == pytest.approx(at("spread"), rel=0.02)
    # devices() lets exact conductances drift
    age = np.log((DAY + 20) / 20)
    nu, spread = at("drift_exponent"), at("drift_exponent_spread")
    mean = target * np.exp(-nu * age + (spread * age) ** 2 / 2)
    wide = target**2 * np.exp(-2 * nu * age + 2 * (spread * age) ** 2) - mean**2 + at("read_noise", mean) ** 2
    assert float(later.mean()) == pytest.approx(mean, rel=0.003)
    assert float(later.std()) == pytest.approx(np.sqrt(wide), rel=0.03)


def test_what_was_not_measured_is_not_there() -> None:
    model = aj.MeasuredNoiseModel(conductance=[0.0, 25.0], spread=[0.0, 0.0])
    programmed, later = devices(model, jnp.float32(7.0), jnp.float32(1e8))
    np.testing.assert_array_equal(programmed, 7.0)
    np.testing.assert_array_equal(later, 7.0)


def test_tables_are_swept_and_differentiated() -> None:
    w = jax.random.normal(jax.random.key(1), (6, 8))

    def error(spread: jax.Array) -> jax.Array:
        own = aj.InferenceRPUConfig(noise_model=measured().replace(spread=spread))
        return ((aj.inference.program(own, w, 0).weights - w) ** 2).mean()

    table = jnp.asarray(MEASURED["spread"])
    every = jax.vmap(error)(jnp.stack([table, 2 * table]))
    assert float(every[1]) > 2 * float(every[0])
    slope = jax.grad(error)(table)
    step = (error(table.at[1].add(0.01)) - error(table.at[1].add(-0.01))) / 0.02
    assert slope.shape == (3,)
    assert float(slope[1]) == pytest.approx(float(step), rel=0.05)


def test_a_file_gives_the_same_model(tmp_path: Path) -> None:
    file = tmp_path / "devices.csv"
    file.write_text(FILE)
    model = aj.MeasuredNoiseModel.from_csv(file, t_0=10.0)
    assert model == aj.MeasuredNoiseModel(
        conductance=[0.0, 10.0, 25.0], spread=[0.3, 0.8, 1.0], drift_exponent=[0.1, 0.06, 0.05], t_0=10.0
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"conductance": [0.0], "spread": [1.0]},
            "conductance with 1 values is not allowed: give a list of at least 2",
        ),
        ({"conductance": 3.0}, "conductance with 1 values is not allowed: give a list of at least 2"),
        ({"conductance": [[0.0, 25.0]]}, r"conductance with shape \(1, 2\) is not allowed: give a list"),
        ({"conductance": [0.0, 12.0, 10.0]}, r"conductance\[2\]=10 is not allowed after 12: give ascending"),
        ({"conductance": [0.0, 10.0, 20.0]}, "conductance from 0 to 20 uS is not allowed: give .* to g_max=25"),
        ({"conductance": [1.0, 10.0, 25.0]}, "conductance from 1 to 25 uS is not allowed: give .* g_min=0"),
        ({"spread": [0.1, -0.1, 0.2]}, "MeasuredNoiseModel.spread=.* is not allowed: give at least 0"),
        ({"drift_exponent": [0.1, -0.1, 0.2]}, "drift_exponent=.* is not allowed: give at least 0"),
        ({"mean": [0.1, 0.2]}, r"MeasuredNoiseModel.mean of shape \(2,\) is not allowed: give 3 values, one for each"),
        ({"read_noise": 0.1}, r"read_noise of shape \(\) is not allowed: give 3 values"),
        ({"spread": [0.1, float("nan"), 0.2]}, "spread=.* is not allowed: give a number that is not NaN"),
    ],
)
def test_bad_tables_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(aj.ConfigError, match=message) as caught:
        measured(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conductance,mean\n0,1\n25,2\n", "has no column 'spread': give a first line with conductance, spread, "),
        ("", "has no column 'conductance'"),
        ("conductance,spred\n0,1\n", "has a column 'spred' that is not allowed: give .*; did you mean 'spread'"),
        ("conductance,spread,spread\n0,1,1\n", "has a column 'spread' that is not allowed: .* it is there twice"),
        ("conductance,spread\n0,1\n25\n", "has 1 entries in row 2: give 2, one a column"),
        ("conductance,spread\n0,1\n25,x\n", "has 'x' in row 2 of column 'spread': give a number"),
        ("conductance,spread\n0,1\n", "conductance with 1 values is not allowed"),
        (b"\xff\xfe\x00\xd8", "cannot be read: it is no text"),
        (None, "cannot be read: No such file"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, text: str | bytes | None, message: str) -> None:
    file = tmp_path / "devices.csv"
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(aj.AihwjaxError, match=message) as caught:
        aj.MeasuredNoiseModel.from_csv(file)
    assert "\n" not in str(caught.value)
