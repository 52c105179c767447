"""A configuration that was changed after a tile was drawn: it acts at once, or it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from tests.compounds.table import COMPOUNDS

SHAPE = (3, 4)
EVEN = {"dw_min_dtod": 0, "up_down_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0, "dw_min_std": 0, "w_max": 9, "w_min": -9}
PLAIN = aj.SingleRPUConfig(device=aj.ConstantStepDevice(dw_min=0.01, **EVEN))
X, D = jnp.ones((1, 4)), -jnp.ones((1, 3))
KEY = jax.random.key(3)

DRAWN: dict[str, Any] = {
    "device.dw_min": 0.001,
    "device.w_max": 1.0,
    "device.dw_min_dtod": 0.1,
    "device.up_down": 0.1,
    "device.lifetime": 50.0,
    "device.drift.nu": 0.1,
    "device.enforce_consistency": False,
    "device": aj.SoftBoundsDevice(),
    "update.pulse_type": "NONE",
}
AT_ONCE: dict[str, Any] = {
    "device.dw_min_std": 0.3,
    "device.reset_std": 0.1,
    "device.drift.t_0": 2.0,
    "update.desired_bl": 5,
    "forward.out_noise": 0.3,
    "update_mode": "SEQUENTIAL",
}


def moved(config: aj.TileConfig, state: aj.tile.TileState, key: jax.Array = KEY) -> aj.tile.TileState:
    return aj.tile.update(config, state, X, D, 0.02, key)


@pytest.mark.parametrize("path", DRAWN)
def test_what_was_drawn_is_refused(path: str) -> None:
    state, changed = aj.tile.init(PLAIN, KEY, SHAPE), PLAIN.replace({path: DRAWN[path]})
    with pytest.raises(aj.ConfigError, match=r"device.*is not allowed on this tile.*aihwjax\.tile\.redraw"):
        moved(changed, state)
    with pytest.raises(aj.ConfigError, match="redraw"):
        aj.tile.set_weights(changed, state, state.weights, KEY)
    with pytest.raises(aj.ConfigError, match="redraw"):
        aj.tile.end_of_batch(changed, state, KEY)
    aj.tile.forward(changed, state, X, KEY)  # the product doesn't ask for devices


def test_both_numbers_and_both_classes_are_named() -> None:
    state = aj.tile.init(PLAIN, KEY, SHAPE)
    with pytest.raises(aj.ConfigError, match=r"device\.dw_min=0\.001 .* drawn with 0\.01"):
        moved(PLAIN.replace({"device.dw_min": 0.001}), state)
    with pytest.raises(aj.ConfigError, match="device=SoftBoundsDevice .* drawn with ConstantStepDevice"):
        jax.jit(moved)(PLAIN.replace(device=aj.SoftBoundsDevice()), state)


@pytest.mark.parametrize("path", AT_ONCE)
def test_other_numbers_act_at_once(path: str) -> None:
    changed = PLAIN.replace({path: AT_ONCE[path]})
    state = moved(changed, aj.tile.init(PLAIN, KEY, SHAPE))
    same = moved(changed, aj.tile.init(changed, KEY, SHAPE))
    np.testing.assert_array_equal(state.weights, same.weights)


def test_redrawn_devices_move_by_what_was_asked_for() -> None:
    state, finer = aj.tile.init(PLAIN, KEY, SHAPE), PLAIN.replace({"device.dw_min": 0.001})
    drawn = aj.tile.redraw(finer, state, KEY)
    np.testing.assert_array_equal(drawn.weights, state.weights)
    np.testing.assert_allclose(aj.tile.hidden_parameters(finer, drawn)["dwmin_up"], 0.001, rtol=1e-5)
    keys = jax.random.split(KEY, 20)
    change = jax.vmap(lambda key: moved(finer, drawn, key).weights - drawn.weights)(keys)
    # each of the 240 moves is about 20 pulses of 0.001, nearly all of them certain
    assert float(change.mean()) == pytest.approx(0.02, rel=0.05)


def test_a_traced_number_that_differs_is_not_overlooked() -> None:
    state = aj.tile.init(PLAIN, KEY, SHAPE)

    def swept(step: jax.Array) -> jax.Array:
        return moved(PLAIN.replace({"device.dw_min": step}), state).weights

    same, other = jax.vmap(swept)(jnp.array([0.01, 0.001]))
    np.testing.assert_allclose(same, moved(PLAIN, state).weights, rtol=1e-6)
    assert np.isnan(other).any()
    assert np.isnan(jax.jit(moved)(PLAIN.replace({"device.dw_min": 0.001}), state).weights).any()


def test_a_sweep_draws_with_its_numbers() -> None:
    def swept(step: jax.Array) -> tuple[aj.TileConfig, aj.tile.TileState]:
        config = PLAIN.replace({"device.dw_min": step})
        return config, aj.tile.init(config, KEY, SHAPE)

    configs, states = jax.jit(jax.vmap(swept))(jnp.array([0.01, 0.001]))
    after = jax.vmap(moved, (0, 0, None))(configs, states, KEY)
    assert np.isfinite(after.weights).all()
    # one model of the stack, with its own number
    one = jax.tree.map(lambda leaf: leaf[1], (configs, states))
    assert np.isfinite(moved(*one).weights).all()
    with pytest.raises(aj.ConfigError, match="dw_min"):
        moved(one[0], jax.tree.map(lambda leaf: leaf[0], states))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("transfer", "device.unit_cell_devices.1.dw_min", 0.5),
        ("transfer", "device.gamma", 0.5),
        ("buffered", "device.transfer_columns", False),
        ("mixed precision", "device.device.dw_min", 0.5),
        ("one-sided", "device.unit_cell_devices.0.w_max", 0.5),
    ],
)
def test_compounds(name: str, path: str, value: object) -> None:
    config = aj.TileConfig(device=COMPOUNDS[name])
    state = aj.tile.init(config, KEY, SHAPE)
    with pytest.raises(aj.ConfigError, match=f"{path}=.*redraw"):
        moved(config.replace({path: value}), state)


def test_a_refresh_that_was_not_drawn() -> None:
    config = aj.TileConfig(device=COMPOUNDS["one-sided"]).replace({"device.refresh_every": 0})
    with pytest.raises(aj.ConfigError, match=r"refresh_every=2.*redraw"):
        moved(config.replace({"device.refresh_every": 2}), aj.tile.init(config, KEY, SHAPE))


FROZEN: dict[str, tuple[dict[str, Any], str, float]] = {
    "offset": ({"v_offset_std": 0.1}, "v_offset_std", 0.2),
    "noise": ({"out_noise_std": 0.1}, "out_noise", 0.3),
    "compression": ({"out_nonlinearity": 0.1}, "out_bound", 6.0),
    "slope": ({"r_series": 0.1, "slope_calibration": 0.5}, "r_series", 0.2),
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_values_of_converters(name: str) -> None:
    built, field, value = FROZEN[name]
    config = aj.SingleRPUConfig(forward=aj.IOParameters(**built))
    state, changed = aj.tile.init(config, KEY, SHAPE), config.replace({f"forward.{field}": value})
    product: Callable[..., jax.Array] = aj.tile.forward
    with pytest.raises(aj.ConfigError, match=f"{field}=.*redraw"):
        product(changed, state, X, KEY)
    assert np.isnan(jax.jit(product)(changed, state, X, KEY)).all()
    drawn = aj.tile.redraw(changed, state, KEY)
    np.testing.assert_array_equal(drawn.weights, state.weights)
    assert np.isfinite(product(changed, drawn, X, KEY)).all()


def test_a_running_average_that_was_not_built() -> None:
    state = aj.tile.init(PLAIN, KEY, SHAPE)
    changed = PLAIN.replace({"forward.noise_management": "AVERAGE_ABS_MAX"})
    with pytest.raises(aj.ConfigError, match=r"forward\.noise_management.*redraw"):
        aj.tile.forward(changed, state, X, KEY)
    assert np.isfinite(aj.tile.forward(changed, aj.tile.redraw(changed, state, KEY), X, KEY)).all()


def test_a_modifier_that_is_switched_off_is_not_read() -> None:
    config = aj.InferenceRPUConfig(
        forward=aj.IOParameters(is_perfect=True), modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.5)
    )
    state = aj.tile.modify(config, aj.tile.init(config, KEY, SHAPE), KEY)
    off = config.replace({"modifier.type": "NONE"})
    np.testing.assert_allclose(aj.tile.forward(off, state, X, KEY, training=True), X @ state.weights.T, rtol=1e-5)


def test_scales_stay() -> None:
    config = aj.InferenceRPUConfig(remap=aj.WeightRemapParameter(type="CHANNELWISE_SYMMETRIC"))
    state = aj.tile.remap(config, aj.tile.init(config, KEY, SHAPE), KEY)
    np.testing.assert_array_equal(aj.tile.redraw(config, state, KEY).mapping_scales, state.mapping_scales)
