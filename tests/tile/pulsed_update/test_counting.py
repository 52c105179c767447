"""Pulses are counted as they are applied: a device of equal steps shows it in its weights."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.errors import ConfigError
from aihwjax.tile.state import TileState
from tests.marks import some

KEY = jax.random.key(3)
STEP = 2.0**-10
"""A step that sums without rounding."""
KINDS = ("STOCHASTIC_COMPRESSED", "STOCHASTIC", "MEAN_COUNT", "DETERMINISTIC_IMPLICIT")
MODES = ("AGGREGATED", "SEQUENTIAL")
_init = jax.jit(aj.tile.init, static_argnames="shape")
_set_weights = jax.jit(aj.tile.set_weights)
# as users compile it: two programs round alike only where both are optimised
_update = jax.jit(aj.tile.update, compiler_options={"xla_backend_optimization_level": 3})


def device(**fields: object) -> aj.ConstantStepDevice:
    """A device of equal steps without noise, whose bounds are out of reach."""
    equal = {"dw_min_dtod": 0, "dw_min_std": 0, "up_down_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0}
    bounds = {"w_max": 100.0, "w_min": -100.0}
    return aj.ConstantStepDevice(**{"dw_min": STEP, "count_pulses": True, **equal, **bounds, **fields})  # type: ignore[arg-type]


def started(config: aj.TileConfig, out: int = 5, columns: int = 7) -> TileState:
    """A tile whose weights are zero."""
    return _set_weights(config, _init(config, KEY, shape=(out, columns)), jnp.zeros((out, columns)), KEY)


def batch(n: int, out: int = 5, columns: int = 7) -> tuple[jax.Array, jax.Array]:
    """Inputs and gradients of both signs."""
    keys = jax.random.split(jax.random.key(n))
    return jax.random.normal(keys[0], (n, columns)), jax.random.normal(keys[1], (n, out))


def moved(config: aj.TileConfig, state: TileState) -> np.ndarray:
    """The weights that the counted pulses come to."""
    counts = aj.tile.pulse_counts(config, state)
    assert counts.up.dtype == counts.down.dtype == jnp.int32
    return np.asarray(STEP * (counts.up - counts.down))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_move_by_what_is_counted(kind: str) -> None:
    totals = []
    for mode in MODES:
        config = aj.TileConfig(device=device(), update=aj.UpdateParameters(pulse_type=kind), update_mode=mode)
        state = started(config)
        for n in (13, 13):
            state = _update(config, state, *batch(n), 0.05, jax.random.fold_in(KEY, n))
        np.testing.assert_array_equal(moved(config, state), state.weights)
        counts = aj.tile.pulse_counts(config, state)
        assert counts.up.sum() > 100
        assert counts.down.sum() > 100
        totals.append(counts)
    np.testing.assert_array_equal(totals[0].up, totals[1].up)
    np.testing.assert_array_equal(totals[0].down, totals[1].down)


@pytest.mark.parametrize("mode", MODES)
def test_a_train_that_always_fires_counts_all_its_pulses(mode: str) -> None:
    pulses = aj.UpdateParameters(desired_bl=31, update_management=False, update_bl_management=False)
    config = aj.TileConfig(device=device(dw_min=0.001), update=pulses, update_mode=mode)
    state = _update(config, started(config, 2, 3), jnp.ones((1, 3)), -jnp.ones((1, 2)), 0.031, KEY)
    counts = aj.tile.pulse_counts(config, state)
    assert (counts.up == 31).all()
    assert (counts.down == 0).all()


@pytest.mark.parametrize("n", [1, 300])
def test_batches_of_any_size_and_more_rows_than_are_packed_at_once(n: int) -> None:
    config = aj.TileConfig(device=device(), update=aj.UpdateParameters(desired_bl=100, update_bl_management=False))
    state = _update(config, started(config), *batch(n), 0.05, KEY)
    np.testing.assert_array_equal(moved(config, state), state.weights)


@pytest.mark.parametrize("name", ["ConstantStepDevice", "LinearStepDevice"])
@pytest.mark.parametrize("mode", some(MODES, MODES[:1]))
def test_counting_changes_no_number(name: str, mode: str) -> None:
    noise = {} if name == "ConstantStepDevice" else {"write_noise_std": 1.0}
    kind = getattr(aj, name)
    off, on = (aj.SingleRPUConfig(device=kind(count_pulses=c, **noise), update_mode=mode) for c in (False, True))
    x, d = batch(13)
    plain, counted = (_update(c, _init(c, KEY, shape=(5, 7)), x, d, 0.05, KEY) for c in (off, on))
    np.testing.assert_array_equal(plain.weights, counted.weights)
    assert plain.device.pulses is None
    first = jax.tree.leaves(plain.device)
    without = [leaf for leaf in jax.tree.leaves(counted.device) if leaf.dtype != jnp.int32]
    jax.tree.map(np.testing.assert_array_equal, first, without)


def test_what_is_off_is_not_in_the_program() -> None:
    config = aj.SingleRPUConfig(device=device(count_pulses=False))
    assert len(jax.tree.leaves(started(config))) + 2 == len(jax.tree.leaves(started(counted(config))))
    assert not {"up_pulses", "down_pulses"} & set(aj.tile.hidden_parameters(config, started(config)))


def counted(config: aj.TileConfig) -> aj.TileConfig:
    """The same, counted."""
    return aj.config.replace(config, {"device.count_pulses": True})


def test_pulses_count_at_the_bounds_too() -> None:
    config = aj.TileConfig(device=device(w_max=STEP, w_min=-STEP))
    state = _update(config, started(config), *batch(13), 0.05, KEY)
    free = aj.TileConfig(device=device())
    other = _update(free, started(free), *batch(13), 0.05, KEY)
    assert jnp.abs(state.weights).max() <= STEP
    jax.tree.map(np.testing.assert_array_equal, aj.tile.pulse_counts(config, state), aj.tile.pulse_counts(free, other))


@pytest.mark.parametrize("mode", MODES)
def test_persistent_weights_move_by_what_is_counted(mode: str) -> None:
    equal = dict.fromkeys(("gamma_up", "gamma_down", "gamma_up_dtod", "gamma_down_dtod"), 0)
    shared = {field.name: getattr(device(), field.name) for field in dataclasses.fields(aj.devices.PulsedDevice)}
    config = aj.TileConfig(device=aj.LinearStepDevice(**shared, **equal, write_noise_std=1.0), update_mode=mode)
    state = _update(config, started(config), *batch(13), 0.05, KEY)
    np.testing.assert_allclose(moved(config, state), state.device.persistent, atol=1e-6)
    assert (state.weights != state.device.persistent).any()


def test_exact_steps_are_no_pulses() -> None:
    config = aj.TileConfig(device=device(), update=aj.UpdateParameters(pulse_type="NONE_WITH_DEVICE"))
    state = _update(config, started(config), *batch(13), 0.05, KEY)
    assert state.weights.any()
    assert not moved(config, state).any()


def test_many_keys_in_a_compiled_loop() -> None:
    config = aj.TileConfig(device=device())
    x, d = batch(5)

    def trained(key: jax.Array) -> TileState:
        def step(state: TileState, key: jax.Array) -> tuple[TileState, None]:
            return aj.tile.update(config, state, x, d, 0.05, key), None

        return jax.lax.scan(step, started(config), jax.random.split(key, 4))[0]

    keys = jax.random.split(KEY, 3)
    states = jax.jit(jax.vmap(trained))(keys)
    counts = jax.vmap(partial(aj.tile.pulse_counts, config))(states)
    np.testing.assert_array_equal(STEP * (counts.up - counts.down), states.weights)
    assert (counts.up[0] != counts.up[1]).any()


def test_what_starts_the_counters_anew() -> None:
    config = aj.TileConfig(device=device())
    state = _update(config, started(config), *batch(13), 0.05, KEY)
    before = aj.tile.pulse_counts(config, state)
    written = aj.tile.set_weights(config, state, jnp.zeros((5, 7)), KEY)
    jax.tree.map(np.testing.assert_array_equal, aj.tile.pulse_counts(config, written), before)
    hidden = aj.tile.hidden_parameters(config, state)
    np.testing.assert_array_equal(hidden["up_pulses"], before.up)
    np.testing.assert_array_equal(hidden["down_pulses"], before.down)
    assert not jax.tree.leaves(aj.tile.pulse_counts(config, aj.tile.redraw(config, state, KEY)))[0].any()


def test_double_precision_counts_the_same() -> None:
    config = aj.TileConfig(device=device())
    x, d = batch(13)
    state = started(config)
    single = aj.tile.pulse_counts(config, _update(config, state, x, d, 0.05, KEY))
    with jax.enable_x64(True):
        double = aj.tile.pulse_counts(config, _update(config, state, x, d, 0.05, KEY))
    assert double.up.dtype == jnp.int32
    np.testing.assert_array_equal(single.up, double.up)


def test_a_tile_that_is_not_counted_says_what_to_set() -> None:
    off = aj.SingleRPUConfig(device=device(count_pulses=False))
    with pytest.raises(ConfigError, match=r"as device\.count_pulses is False: set it to True, and draw it anew"):
        aj.tile.pulse_counts(off, started(off))
    ideal = aj.SingleRPUConfig(device=aj.IdealDevice())
    with pytest.raises(ConfigError, match="its device IdealDevice gets none"):
        aj.tile.pulse_counts(ideal, started(ideal))


def test_counting_is_fixed_when_a_tile_is_drawn() -> None:
    off = aj.SingleRPUConfig(device=device(count_pulses=False))
    state = started(off)
    with pytest.raises(ConfigError, match=r"device\.count_pulses=True is not allowed on this tile"):
        aj.tile.update(counted(off), state, *batch(13), 0.05, KEY)
    again = aj.tile.redraw(counted(off), state, KEY)
    assert not moved(counted(off), again).any()
