"""Hidden parameters are set as they are read, and everything that follows uses them."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.devices.device import Device
from aihwjax.errors import ConfigError, DataError, NonFiniteError, ShapeError
from aihwjax.tile.state import TileState
from tests.compounds.table import COMPOUNDS
from tests.helpers import DEVICES, VARIANTS
from tests.marks import some

KEY = jax.random.key(7)
OUT, IN = 3, 4
_init = jax.jit(aj.tile.init, static_argnames="shape")
_update = jax.jit(aj.tile.update)
ALL: dict[str, Device] = {**DEVICES, **VARIANTS, **COMPOUNDS}
SLOW = ("linear_step/write_noise", "buffered", "dynamic", "mixed precision")
QUICK = ("soft_bounds_reference", "piecewise_step", "chopped")
STEADY = aj.ConstantStepDevice(
    dw_min=0.01, dw_min_dtod=0, dw_min_std=0, up_down_dtod=0, w_max_dtod=0, w_min_dtod=0, count_pulses=True
)


def trained(config: aj.TileConfig) -> TileState:
    """A tile after a mini-batch."""
    state = _init(config, KEY, shape=(OUT, IN))
    x, d = jax.random.normal(KEY, (6, IN)), jax.random.normal(jax.random.key(1), (6, OUT))
    return _update(config, state, x, d, 0.05, KEY)


@pytest.mark.parametrize("name", some(ALL, QUICK, SLOW))
def test_what_is_read_can_be_set(name: str) -> None:
    config = aj.TileConfig(device=ALL[name])
    state = trained(config)
    again = aj.tile.set_hidden_parameters(config, state, aj.tile.hidden_parameters(config, state))
    jax.tree.map(np.testing.assert_array_equal, again, state)
    inside = jax.jit(lambda s: aj.tile.set_hidden_parameters(config, s, aj.tile.hidden_parameters(config, s)))
    jax.tree.map(np.testing.assert_array_equal, inside(state), state)


@pytest.mark.parametrize("name", some(["chopped", *SLOW[1:], "vector", "transfer"], ["chopped"]))
def test_a_tile_is_copied_to_another_of_its_kind(name: str) -> None:
    config = aj.TileConfig(device=COMPOUNDS[name])
    state, other = trained(config), _init(config, jax.random.key(9), shape=(OUT, IN))
    hidden = aj.tile.hidden_parameters(config, state)
    copied = aj.tile.hidden_parameters(config, aj.tile.set_hidden_parameters(config, other, hidden))
    for key, value in hidden.items():
        np.testing.assert_array_equal(copied[key], value, err_msg=key)


def test_the_update_uses_the_step_of_a_crosspoint() -> None:
    pulses = aj.UpdateParameters(desired_bl=10, update_management=False, update_bl_management=False)
    config = aj.TileConfig(device=STEADY, update=pulses)
    state = aj.tile.set_weights(config, _init(config, KEY, shape=(OUT, IN)), jnp.zeros((OUT, IN)), KEY)
    up = aj.tile.hidden_parameters(config, state)["dwmin_up"].at[1, 2].set(0.025)
    state = aj.tile.set_hidden_parameters(config, state, {"dwmin_up": up})
    state = _update(config, state, jnp.ones((1, IN)), -jnp.ones((1, OUT)), 0.1, KEY)
    counts = aj.tile.pulse_counts(config, state)
    assert (counts.up == 10).all()
    expected = np.full((OUT, IN), 0.1)
    expected[1, 2] = 0.25
    np.testing.assert_allclose(state.weights, expected, rtol=1e-5)


def test_weights_are_clipped_to_new_bounds_alone() -> None:
    config = aj.TileConfig(device=aj.SoftBoundsReferenceDevice(reference_std=0.2))
    state = trained(config)
    top = aj.tile.hidden_parameters(config, state)["max_bound"]
    after = aj.tile.set_hidden_parameters(config, state, {"max_bound": top.at[0, 0].set(-0.0), "min_bound": top - 1})
    assert after.weights[0, 0] <= 0
    same = aj.tile.set_hidden_parameters(config, state, {"max_bound": top.at[0, 0].set(top[0, 0] + 1)})
    np.testing.assert_array_equal(same.weights.ravel()[1:], state.weights.ravel()[1:])


def test_what_is_computed_from_the_steps_follows() -> None:
    config = aj.TileConfig(device=aj.ConstantStepDevice())
    state = trained(config)
    steps = {name: aj.tile.hidden_parameters(config, state)[name] * 3 for name in ("dwmin_up", "dwmin_down")}
    after = aj.tile.set_hidden_parameters(config, state, steps)
    np.testing.assert_allclose(after.device.coarseness, state.device.coarseness * 3, rtol=1e-5)


def test_persistent_and_apparent_weights_move_together() -> None:
    single = aj.TileConfig(device=VARIANTS["linear_step/write_noise"])
    state = trained(single)
    persistent = aj.tile.hidden_parameters(single, state)["persistent_weights"]
    target = persistent.at[0, 0].set(0.1)
    after = aj.tile.set_hidden_parameters(single, state, {"persistent_weights": target})
    np.testing.assert_array_equal(after.device.persistent, target)
    np.testing.assert_allclose(after.weights - target, state.weights - persistent, atol=1e-6)

    cell = aj.TileConfig(device=COMPOUNDS["vector"])
    state = trained(cell)
    hidden = aj.tile.hidden_parameters(cell, state)
    after = aj.tile.set_hidden_parameters(cell, state, {"hidden_weights_1": jnp.full((OUT, IN), 0.05)})
    now = aj.tile.hidden_parameters(cell, after)
    np.testing.assert_allclose(
        now["hidden_weights_1"] - now["persistent_weights_1"],
        hidden["hidden_weights_1"] - hidden["persistent_weights_1"],
        atol=1e-6,
    )
    np.testing.assert_allclose(after.weights, 0.7 * (hidden["hidden_weights_0"] + 0.05), atol=1e-6)


def test_weights_and_buffers_of_a_compound() -> None:
    config = aj.TileConfig(device=COMPOUNDS["buffered"])
    state = trained(config)
    values = {"hidden_weights_0": jnp.full((OUT, IN), 0.1), "buffered_FP_weight_0": jnp.arange(12.0).reshape(OUT, IN)}
    after = aj.tile.set_hidden_parameters(config, state, values)
    now = aj.tile.hidden_parameters(config, after)
    np.testing.assert_array_equal(now["buffered_FP_weight_0"], values["buffered_FP_weight_0"])
    inside = jnp.minimum(0.1, now["max_bound_0"])
    np.testing.assert_allclose(now["hidden_weights_0"], inside, rtol=1e-6)
    np.testing.assert_allclose(after.weights, 0.3 * inside + 0.9 * now["hidden_weights_1"], atol=1e-6)


def test_many_tiles_in_one_program() -> None:
    config = aj.TileConfig(device=STEADY)
    state = _init(config, KEY, shape=(OUT, IN))
    tops = jnp.array([0.02, 0.05, 0.5])[:, None, None] * jnp.ones((OUT, IN))
    put = partial(aj.tile.set_hidden_parameters, config, state)
    states = jax.jit(jax.vmap(lambda top: put({"max_bound": top})))(tops)
    for top, weights in zip(tops, states.weights, strict=True):
        np.testing.assert_array_equal(weights, jnp.minimum(state.weights, top))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"maxbound": 0}, ConfigError, r"no hidden parameter 'maxbound'; did you mean 'max_bound'\?"),
        ([("max_bound", 0)], ConfigError, "parameters=list is not allowed: give a dictionary"),
        ({"max_bound": np.ones((4, 3))}, ShapeError, r"max_bound has shape \(4, 3\): give \(3, 4\)"),
        ({"max_bound": 0.6}, ShapeError, r"max_bound has shape \(\): give \(3, 4\)"),
        ({"dwmin_up": np.full((3, 4), np.nan)}, NonFiniteError, "dwmin_up has 12 NaN or infinite of 12 values"),
        ({"dwmin_up": np.full((3, 4), 1e30)}, DataError, "dwmin_up has numbers that are too large"),
        ({"dwmin_up": "high"}, DataError, "dwmin_up has type <U4"),
        ({"up_pulses": np.full((3, 4), 0.5)}, DataError, "up_pulses .* give whole numbers from 0"),
        ({"up_pulses": np.full((3, 4), -1)}, DataError, "up_pulses .* give whole numbers from 0"),
        ({"min_bound": np.full((3, 4), 0.7)}, ConfigError, r"min_bound\[0, 0\]=0.7 is not allowed: give at most"),
        ({"decay_scales": np.zeros((3, 4))}, ConfigError, "decay_scales cannot be set .* drawn without lifetime"),
        ({"drift_nu": np.ones((3, 4))}, ConfigError, r"drift_nu cannot be set .* drawn without drift\.nu"),
    ],
)  # fmt: skip
def test_mistakes(parameters, error, message) -> None:
    config = aj.TileConfig(device=STEADY)
    state = _init(config, KEY, shape=(OUT, IN))
    with pytest.raises(error, match=message):
        aj.tile.set_hidden_parameters(config, state, parameters)
    if isinstance(parameters, dict) and error is ConfigError and "maxbound" not in parameters:
        (name, array), *_ = parameters.items()
        inside = jax.jit(lambda value: aj.tile.set_hidden_parameters(config, state, {name: value}))
        assert jnp.isnan(inside(array).weights[0, 0])


def test_devices_without_hidden_parameters_and_sums_of_cells() -> None:
    ideal = aj.SingleRPUConfig(device=aj.IdealDevice())
    with pytest.raises(ConfigError, match="a tile of IdealDevice has no hidden parameters"):
        aj.tile.set_hidden_parameters(ideal, _init(ideal, KEY, shape=(OUT, IN)), {"max_bound": 0})
    exact = aj.TileConfig(device=STEADY, update=aj.UpdateParameters(pulse_type="NONE"))
    with pytest.raises(
        ConfigError, match="a tile of ConstantStepDevice under pulse type NONE has no hidden parameters"
    ):
        aj.tile.set_hidden_parameters(exact, _init(exact, KEY, shape=(OUT, IN)), {"max_bound": 0})
    inner = aj.VectorUnitCell(unit_cell_devices=(STEADY, STEADY))
    nested = aj.TileConfig(device=aj.VectorUnitCell(unit_cell_devices=(inner, STEADY)))
    state = _init(nested, KEY, shape=(OUT, IN))
    with pytest.raises(ConfigError, match="hidden_weights_0 cannot be set on this tile: it is the sum"):
        aj.tile.set_hidden_parameters(nested, state, {"hidden_weights_0": np.ones((OUT, IN))})
    values = {"hidden_weights_0_0": jnp.full((OUT, IN), 0.1), "hidden_weights_1_0": jnp.full((OUT, IN), 0.3)}
    after = aj.tile.set_hidden_parameters(nested, state, values)
    np.testing.assert_allclose(aj.tile.hidden_parameters(nested, after)["hidden_weights_0"], 0.2, rtol=1e-6)


def test_another_configuration_is_refused() -> None:
    config = aj.TileConfig(device=STEADY)
    state = _init(config, KEY, shape=(OUT, IN))
    with pytest.raises(ConfigError, match="which was drawn with"):
        aj.tile.set_hidden_parameters(config.replace({"device.dw_min": 0.02}), state, {})
    assert dataclasses.asdict(aj.tile.set_hidden_parameters(config, state, {})).keys()
