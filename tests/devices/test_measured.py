"""Devices from tables of measured steps, and from functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import config as configs
from aihwjax import tile
from aihwjax.devices.measured_step import interpolate
from tests.marks import exhaustive, slow, some

PLAIN: dict[str, Any] = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}
TABLE: dict[str, Any] = {"conductance": [5.0, 15.0, 25.0], "up": [0.6, 0.4, 0.1], "down": [0.1, 0.4, 0.5]}
FILE = """conductance, up, down, up_std, down_std
5, 0.6, -0.1, 0.1, 0.1

15, 0.4, -0.4, 0.1, 0.2
25, 0.1, -0.5, 0.1, 0.3
"""


def sampled(device: aj.devices.PulsedDevice, points: int, **fields: Any) -> aj.MeasuredStepDevice:
    """Return the device of a table drawn from the law of another one."""
    grid = np.linspace(device.w_min, device.w_max, points)
    steps = aj.plot.theoretical_steps(device, grid)
    assert steps is not None
    return aj.devices.from_table({"weight": grid, "up": steps[0], "down": steps[1]}, **fields)


LAWS = {
    # the law, nodes that hold it, and how far a linear table is from it, as part of the range
    "soft bounds": (aj.SoftBoundsDevice(dw_min=0.02, dw_min_std=0.3, **PLAIN), 2, 1e-5),
    "exponential": (aj.ExpStepDevice(dw_min=0.02, dw_min_std=0.3, **PLAIN), 61, 2e-3),
    "piecewise": (
        aj.PiecewiseStepDevice(piecewise_up=(1.5, 1.0, 0.5), piecewise_down=(0.2, 1.0, 2.0), dw_min=0.02, **PLAIN),
        3,
        1e-5,
    ),
}


@pytest.mark.parametrize("name", some(LAWS, ("soft bounds",), ("exponential",)))
def test_a_table_of_a_known_device_responds_like_it(name: str) -> None:
    law, points, error = LAWS[name]
    own = sampled(law, points, dw_min_std=0.3)
    first = aj.plot.compute_pulse_response(law, pulses=40, crosspoints=16, key=3)
    second = aj.plot.compute_pulse_response(own, pulses=40, crosspoints=16, key=3)
    span = float(law.w_max) - float(law.w_min)  # type: ignore[arg-type]
    np.testing.assert_allclose(second.weights, first.weights, atol=error * span)
    assert np.ptp(first.weights) > 0.4 * span


@pytest.mark.parametrize("mode", [aj.UpdateMode.SEQUENTIAL, slow(aj.UpdateMode.AGGREGATED)])
def test_a_table_of_a_constant_step_is_the_constant_step_device(mode: aj.UpdateMode) -> None:
    shared = {"dw_min_dtod": 0.3, "w_max_dtod": 0.3, "w_min_dtod": 0.3, "up_down_dtod": 0.01, "dw_min_std": 0.3}
    table = {"weight": [-0.6, 0.1, 0.6], "up": [0.01] * 3, "down": [0.01] * 3}
    own, known = aj.devices.from_table(table, **shared), aj.ConstantStepDevice(dw_min=0.01, **shared)
    x, d = jax.random.normal(jax.random.key(1), (6, 5)), jax.random.normal(jax.random.key(2), (6, 4))
    ends = []
    for device in (own, known):
        config = aj.SingleRPUConfig(device=device, update_mode=mode)
        state = tile.init(config, jax.random.key(0), (4, 5))
        # one vector a time: all pulses of a crosspoint have one sign, so that both laws are applied alike
        for k in range(3):
            state = tile.update(config, state, x[k : k + 1], d[k : k + 1], 0.1, jax.random.key(k))
        ends.append(np.asarray(state.weights))
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)
    assert float(own.weight_granularity()) == pytest.approx(0.01)


@pytest.mark.slow
def test_noise_and_spread_are_those_of_the_table() -> None:
    # 4,000 crosspoints: a standard deviation is known to 1.1 %
    table = {**TABLE, "up_std": [0.12, 0.08, 0.02], "down_std": [0.02, 0.06, 0.1], "up_dtod": [0.1, 0.05, 0.01],
             "down_dtod": [0.01, 0.05, 0.1]}  # fmt: skip
    device, unit = aj.devices.from_table(table), 0.1  # 2 weight units for 20 of conductance
    found = aj.plot.compute_pulse_statistics(device, weights=[-1.0, 0.0, 1.0], crosspoints=4000, key=1)
    up_spread, down_spread = (np.hypot(table[f"{way}_std"], table[f"{way}_dtod"]) * unit for way in ("up", "down"))
    # at the bounds a pulse can only go inwards
    np.testing.assert_allclose(found.up_mean[:2], np.asarray(table["up"][:2]) * unit, rtol=0.02)
    np.testing.assert_allclose(found.down_mean[1:], -np.asarray(table["down"][1:]) * unit, rtol=0.02)
    np.testing.assert_allclose(found.up_std[:2], up_spread[:2], rtol=0.05)
    np.testing.assert_allclose(found.down_std[1:], down_spread[1:], rtol=0.05)
    without = aj.devices.from_table(table, spread_correlation=0.0)
    for own, wanted in ((device, 1.0), (without, 0.0)):
        model = own.init(jax.random.key(0), (60, 60)).model
        correlation = np.corrcoef(np.ravel(model["spread_up"]), np.ravel(model["spread_down"]))[0, 1]
        assert correlation == pytest.approx(wanted, abs=0.06)


def test_units_are_mapped_and_files_are_read(tmp_path: Path) -> None:
    device = aj.devices.from_table(TABLE, weight_range=(-0.5, 1.5))
    assert (device.w_min, device.w_max) == (-0.5, 1.5)
    # 0.1 weight units for each of conductance; weight 0 is a quarter of the way, at conductance 10
    assert device.dw_min == pytest.approx(0.1 * (0.5 + 0.25) / 2)
    assert float(device.weight_granularity()) == pytest.approx(device.dw_min)
    file = tmp_path / "steps.csv"
    file.write_text(FILE)
    read = aj.devices.from_table(file)
    given = aj.devices.from_table({**TABLE, "up_std": [0.1] * 3, "down_std": [0.1, 0.2, 0.3]})
    assert read == given
    assert configs.from_toml(configs.to_toml(read)) == read
    assert read.dw_min_std == pytest.approx(0.15 / 0.4)


@pytest.mark.parametrize("points", [4, 60])
def test_tables_are_interpolated_with_their_slopes(points: int) -> None:
    nodes = np.linspace(0, 1, points) ** 2
    table = np.sin(5 * nodes)
    places = jnp.asarray([-0.5, 0.0, 0.1, 0.33, 0.77, 1.0, 1.5])
    values, slopes = jax.jvp(lambda q: interpolate(nodes, [table], q)[0], (places,), (jnp.ones_like(places),))
    np.testing.assert_allclose(values, np.interp(places, nodes, table), atol=2e-6)
    segment = np.clip(np.searchsorted(nodes, np.asarray(places), side="right") - 1, 0, points - 2)
    exact = np.diff(table)[segment] / np.diff(nodes)[segment] * ((places >= 0) & (places <= 1))
    np.testing.assert_allclose(slopes, exact, rtol=1e-3)
    np.testing.assert_array_equal(interpolate(nodes, [np.full(points, 0.7)], places)[0], np.float32(0.7))


def test_the_numbers_of_a_table_are_swept_and_differentiated() -> None:
    device = aj.devices.from_table(TABLE)
    start = jnp.asarray(device.up)

    def step(up: jax.Array) -> jax.Array:
        own = device.replace(up=up)
        return own.steps(own.init(0, (1, 1)), jnp.full((1, 1), 0.5)).up[0, 0]

    slope = jax.grad(step)(start)
    np.testing.assert_allclose(slope, [0.0, device.dw_min / 2, device.dw_min / 2], rtol=1e-5)
    both = jax.jit(jax.vmap(step))(jnp.stack([start, 2 * start]))
    assert float(both[1]) == pytest.approx(2 * float(both[0]), rel=1e-5)
    assert len(jax.tree.leaves(device)) == len(jax.tree.leaves(aj.MeasuredStepDevice()))


def test_a_mirrored_table_is_the_table_of_the_mirrored_weight() -> None:
    devices = {
        "table": aj.MeasuredStepDevice(nodes=(0, 0.3, 1), up=(1.5, 1.0, 0.2), down=(0.4, 1.0, 1.3)),
        "functions": aj.devices.from_steps(lambda w: 0.02 * jnp.exp(-w), lambda w: 0.01 * (1.2 + w), **PLAIN),
    }
    for device in devices.values():
        places = np.linspace(-0.55, 0.55, 7)
        up, down = aj.plot.theoretical_steps(device, places)  # type: ignore[misc]
        own_up, own_down = aj.plot.theoretical_steps(device.inverted(), -places)  # type: ignore[misc]
        np.testing.assert_allclose(own_up, -down, rtol=1e-5)
        np.testing.assert_allclose(own_down, -up, rtol=1e-5)
        assert hash(device.inverted()) == hash(device.inverted())


@pytest.mark.slow
def test_functions_of_a_known_law_are_that_device() -> None:
    known = aj.SoftBoundsDevice(dw_min=0.02, **PLAIN)
    own = aj.devices.from_steps(
        up=lambda w, top, bottom: 1 - w / top,
        down=lambda w, top, bottom: 1 - w / bottom,
        parameters=(0.6, -0.6),
        dw_min=0.02,
        **PLAIN,
    )
    first, second = (aj.plot.compute_pulse_response(each, pulses=40, crosspoints=8, key=3) for each in (known, own))
    np.testing.assert_allclose(second.weights, first.weights, atol=1e-5)
    assert float(own.weight_granularity()) == pytest.approx(0.02)


def test_they_train_in_any_algorithm() -> None:
    device = aj.devices.from_table(TABLE)
    assert aj.build_config("agad", device).device.unit_cell_devices[0] == device
    swept = configs.replace(aj.SingleRPUConfig(device=device), {"device.dw_min": np.array([0.01, 0.02])})
    assert swept.device.up is device.up


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"up": [1], "down": [1]}, {}, "neither of the columns 'weight' and 'conductance'"),
    ({**TABLE, "weight": [0, 1, 2]}, {}, "both of the columns"),
    ({"conductance": [1, 2], "up": [1, 1]}, {}, "no column 'down'"),
    ({**TABLE, "up_sd": [1, 1, 1]}, {}, "'up_sd' that is not allowed: .* did you mean 'up_std'?"),
    ({**TABLE, "up_std": [1, 1, 1]}, {}, "'up_std' but no column 'down_std'"),
    ({**TABLE, "up": [1, 1]}, {}, "up of shape (2,): give 3 values"),
    ({**TABLE, "up": ["a", 1, 1]}, {}, "table['up'] is no list of numbers"),
    ({**TABLE, "up": [np.nan, 1, 1]}, {}, "nan in row 1 of up"),
    ({**TABLE, "conductance": [5, 25, 15]}, {}, "conductance 15 after 25 in row 3: give them ascending"),
    ({**TABLE, "up": [600.0, 400.0, 100.0]}, {}, "a step of 600 in row 1 of up, more than the range .* unit of the"),
    ({**TABLE, "up_std": [-1, 0, 0], "down_std": [0, 0, 0]}, {}, "-1 in row 1 of up_std: give at least 0"),
    ({**TABLE, "up": [0, 0, 0], "down": [0, 0, 0]}, {}, "mean step of 0 where the weight is 0"),
    (TABLE, {"weight_range": (0.5, 1.0)}, "weight_range=(0.5, 1) is not allowed: give a range that contains"),
    (TABLE, {"dw_mi": 1.0}, "no argument 'dw_mi'; did you mean 'dw_min'?"),
    ({"weight": [5, 25], "up": [1, 1], "down": [1, 1]}, {}, "weight from 5 to 25 is not allowed: .* 'conductance'"),
    ({"weight": [-1, 1], "up": [1, 1], "down": [1, 1]}, {"weight_range": (-1, 1)}, "weight_range is not allowed with"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "fields", "message"), BAD, ids=[row[2][:40] for row in BAD])
def test_a_wrong_table_is_one_line(table: dict[str, Any], fields: dict[str, Any], message: str) -> None:
    with pytest.raises((aj.DataError, aj.ConfigError)) as caught:
        aj.devices.from_table(table, **fields)
    assert "\n" not in str(caught.value)
    for part in message.split(".*"):
        assert part in str(caught.value)


FUNCTIONS: list[tuple[Any, dict[str, Any], str]] = [
    (lambda w: np.exp(w), {}, "fails with TracerArrayConversionError: .* write it with jax.numpy"),
    (lambda w: w @ w, {}, "fails with TypeError"),
    (lambda w: jnp.sum(w, 0), {}, "returns shape (3,) for weights of shape (2, 3)"),
    (lambda w: 1 / w, {}, "returns no finite number at weight 0"),
    (lambda w: -1.0 * w - 1, {}, "mean of an up and a down step is -1 at weight 0"),
    (lambda w: 1.0, {"parameters": (2.0,)}, "fails with TypeError"),
]


@pytest.mark.parametrize(("function", "fields", "message"), FUNCTIONS, ids=[row[2][:40] for row in FUNCTIONS])
def test_a_wrong_function_is_one_line(function: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(aj.ConfigError) as caught:
        aj.devices.from_steps(function, function, **fields)
    assert "\n" not in str(caught.value)
    for part in message.split(".*"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", [slow("measured"), exhaustive("functions")])
def test_the_two_modes_agree(name: str) -> None:
    """Mean and spread of 400 tiles after coarse updates, aggregated and pulse by pulse."""
    from tests.helpers import MEASURED, falling, rising

    device: aj.devices.Device = aj.MeasuredStepDevice(**MEASURED, dw_min=0.01)
    if name == "functions":
        device = aj.devices.from_steps(falling, rising, parameters=(1.2,), dw_min=0.01)
    x, d = (0.5 * jax.random.normal(jax.random.key(k), (20, n)) for k, n in ((1, 5), (2, 4)))
    found = {}
    for mode in (aj.UpdateMode.AGGREGATED, aj.UpdateMode.SEQUENTIAL):
        config = aj.SingleRPUConfig(device=device, update_mode=mode)

        def one(key: jax.Array, config: aj.TileConfig = config) -> jax.Array:
            state = tile.init(config, jax.random.key(0), (4, 5))
            return tile.update(config, state, x, d, 0.2, key).weights - state.weights

        ends = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(4), 400)), np.float64)
        found[mode] = ends.mean(0), ends.std(0)
    (mean, spread), (own_mean, own_spread) = found[aj.UpdateMode.SEQUENTIAL], found[aj.UpdateMode.AGGREGATED]
    row = np.sqrt((spread**2).mean())
    # both modes send the same pulses; 400 tiles know a mean to 0.05 and a spread to 0.035 of the spread
    assert np.abs(own_mean - mean).max() < 0.2 * row
    assert np.abs(own_spread - spread).max() < 0.15 * row
    assert np.abs(mean).max() > 2 * row
