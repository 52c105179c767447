"""Updates with derivatives: the same weights, and slopes straight through the pulses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile
from aihwjax.devices.device import Device
from aihwjax.errors import ConfigError, ModuleError
from aihwjax.pulses import PulseType, UpdateMode
from tests.helpers import DEVICES, VARIANTS
from tests.marks import some

PAIR = (aj.SoftBoundsDevice(dw_min=0.01), aj.ConstantStepDevice(dw_min=0.01))
CELLS: dict[str, Device] = {
    "vector": aj.VectorUnitCell(unit_cell_devices=PAIR),
    "vector/in_turn": aj.VectorUnitCell(
        unit_cell_devices=PAIR, update_policy=aj.VectorUnitCellUpdatePolicy.SINGLE_SEQUENTIAL
    ),
    "reference": aj.ReferenceUnitCell(unit_cell_devices=(PAIR[0],)),
    "counted": aj.SoftBoundsDevice(count_pulses=True),
}
EVERY = {**DEVICES, **VARIANTS, **CELLS}
X = jax.random.normal(jax.random.key(1), (6, 8, 5))
TARGETS = jax.random.normal(jax.random.key(2), (6, 8, 3))


def trained(config: aj.TileConfig, key: jax.Array, rate: Any = 0.2) -> tile.TileState:
    """A tile after six mini-batches of a linear regression."""
    devices, pulses, writing = jax.random.split(key, 3)
    weights = jax.random.uniform(jax.random.key(7), (3, 5), minval=-0.3, maxval=0.3)
    state = tile.set_weights(config, tile.init(config, devices, (3, 5)), weights, writing)

    def step(state: tile.TileState, batch: Any) -> tuple[tile.TileState, None]:
        x, target, key = batch
        d = (x @ state.weights.T - target) / 8
        return tile.update(config, state, x, d, rate, key), None

    return jax.lax.scan(step, state, (X, TARGETS, jax.random.split(pulses, 6)))[0]


def end_loss(config: aj.TileConfig, key: jax.Array) -> jax.Array:
    """The loss of that regression at its end."""
    return jnp.mean((X @ trained(config, key).weights.T - TARGETS) ** 2)


@pytest.mark.parametrize("name", some(EVERY, ["soft_bounds", "pow_step/write_noise", "counted"], ["vector/in_turn"]))
def test_weights_are_those_of_the_aggregated_update(name: str) -> None:
    def state(mode: UpdateMode) -> tile.TileState:
        return jax.jit(lambda key: trained(aj.TileConfig(device=EVERY[name], update_mode=mode), key))(jax.random.key(3))

    ours, theirs = state(UpdateMode.DIFFERENTIABLE), state(UpdateMode.AGGREGATED)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for mine, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("kind", [PulseType.MEAN_COUNT, PulseType.STOCHASTIC])
def test_weights_are_those_of_other_pulses(kind: PulseType) -> None:
    def weights(mode: UpdateMode) -> jax.Array:
        config = aj.TileConfig(update=aj.UpdateParameters(pulse_type=kind), update_mode=mode)
        return jax.jit(lambda key: trained(config, key).weights)(jax.random.key(3))

    np.testing.assert_array_equal(weights(UpdateMode.DIFFERENTIABLE), weights(UpdateMode.AGGREGATED))


@pytest.mark.parametrize("name", some(EVERY, ["soft_bounds"], ["pow_step/write_noise", "vector/in_turn"]))
def test_forward_and_reverse_mode_agree_and_are_finite(name: str) -> None:
    def loss(scale: jax.Array, key: jax.Array) -> jax.Array:
        config = aj.TileConfig(device=EVERY[name], update_mode=UpdateMode.DIFFERENTIABLE)
        weights = trained(config, key, 0.2 * scale).weights
        return jnp.mean((X @ weights.T - TARGETS) ** 2)

    keys, one = jax.random.split(jax.random.key(3), 3), jnp.float32(1)
    reverse = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(one, keys)
    forward = jax.jit(jax.vmap(lambda key: jax.jvp(partial(loss, key=key), (one,), (one,))[1]))(keys)
    assert np.isfinite(reverse).all() and (np.asarray(reverse) != 0).any()
    np.testing.assert_allclose(forward, reverse, rtol=1e-4, atol=1e-6)


def certain(dw_min: Any, rate: Any, x: Any, weight: Any = 0.0, **fields: Any) -> jax.Array:
    """One crosspoint after as many certain up pulses as the rate asks for."""
    exact = {"dw_min_dtod": 0, "dw_min_std": 0, "up_down_dtod": 0, "w_max": 9, "w_min": -9}
    exact |= {"w_max_dtod": 0, "w_min_dtod": 0, **fields}
    config = aj.SingleRPUConfig(
        device=aj.ConstantStepDevice(dw_min=dw_min, **exact), update_mode=UpdateMode.DIFFERENTIABLE
    )
    state = tile.init(config, jax.random.key(0), (1, 1))
    state = tile.set_weights(config, state, jnp.full((1, 1), weight), jax.random.key(2))
    return tile.update(config, state, jnp.ones((1, 1)) * x, -jnp.ones((1, 1)), rate, jax.random.key(1)).weights[0, 0]


def test_slopes_of_certain_pulses_are_those_of_gradient_descent() -> None:
    slopes = jax.grad(certain, (0, 1, 2, 3))(0.01, 0.2, 1.0, 0.1)
    assert certain(0.01, 0.2, 1.0, 0.1) == pytest.approx(0.3, abs=1e-6)
    # the weight moves by rate times x, whatever the step is
    np.testing.assert_allclose(slopes, (0, 1, 0.2, 1), atol=1e-5)


def test_a_weight_at_a_bound_follows_the_bound() -> None:
    slope = jax.grad(lambda top: certain(0.01, 0.5, 1.0, 0.1, w_max=top))(0.2)
    assert slope == pytest.approx(1)
    assert jax.grad(certain, 3)(0.01, 0.5, 1.0, 0.1) == pytest.approx(1)
    assert jax.grad(lambda weight: certain(0.01, 0.5, 1.0, weight, w_max=0.2))(0.1) == 0


def test_stuck_crosspoints_have_no_slope() -> None:
    stuck = {"corrupt_devices_prob": 1.0, "corrupt_devices_range": 0.0}
    assert jax.grad(lambda rate: certain(0.01, rate, 1.0, **stuck))(0.2) == 0


@pytest.mark.parametrize("update", [{}, {"fixed_bl": False, "update_bl_management": False}, {"res": 0.01}])
def test_no_pulses_have_finite_slopes(update: dict[str, Any]) -> None:
    def moved(rate: jax.Array, dw_min: jax.Array) -> jax.Array:
        config = aj.SingleRPUConfig(
            device=aj.SoftBoundsDevice(dw_min=dw_min),
            update=aj.UpdateParameters(**update),
            update_mode=UpdateMode.DIFFERENTIABLE,
        )
        state = tile.init(config, jax.random.key(0), (3, 5))
        zeros = jnp.zeros((2, 3)).at[0].set(1.0)
        return tile.update(config, state, jnp.ones((2, 5)), zeros, rate, jax.random.key(1)).weights.sum()

    for rate in (0.0, 0.3):
        assert np.isfinite(jax.grad(moved, (0, 1))(jnp.float32(rate), jnp.float32(0.01))).all()


FIELDS: dict[str, tuple[Callable[[Any], Device], float, float]] = {
    "up_down": (lambda v: aj.SoftBoundsDevice(dw_min=0.01, up_down=v), 0.1, 0.05),
    "dw_min": (lambda v: aj.SoftBoundsDevice(dw_min=v), 0.02, 0.004),
    "dw_min_std": (lambda v: aj.ConstantStepDevice(dw_min=0.02, dw_min_std=v), 0.5, 0.1),
    "gamma_up": (lambda v: aj.LinearStepDevice(dw_min=0.01, gamma_up=v, gamma_down=0.3), 0.5, 0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_slopes_are_finite_differences_of_the_mean(name: str) -> None:
    device, at, width = FIELDS[name]
    count = 1500
    keys = jax.random.split(jax.random.key(5), count)

    def config(value: Any, mode: UpdateMode) -> aj.TileConfig:
        return aj.SingleRPUConfig(device=device(value), update_mode=mode)

    @jax.jit
    def slopes(value: jax.Array) -> jax.Array:
        one = jax.grad(lambda value, key: end_loss(config(value, UpdateMode.DIFFERENTIABLE), key))
        return jax.lax.map(lambda key: one(value, key), keys, batch_size=100)

    @jax.jit
    def losses(value: jax.Array) -> jax.Array:
        return jax.lax.map(lambda key: end_loss(config(value, UpdateMode.AGGREGATED), key), keys, batch_size=100)

    ours = slopes(jnp.float32(at))
    theirs = (losses(jnp.float32(at + width)) - losses(jnp.float32(at - width))) / (2 * width)
    error = np.sqrt((ours.var() + theirs.var()) / count)
    # bias of the method, stated in the documentation, and four standard errors of both means
    assert abs(ours.mean() - theirs.mean()) < 0.1 * abs(theirs.mean()) + 4 * error
    assert abs(ours.mean()) > 4 * ours.std() / np.sqrt(count)
    assert ours.std() < theirs.std()


@pytest.mark.parametrize("device", [aj.TransferCompound(unit_cell_devices=PAIR), aj.MixedPrecisionCompound()])
def test_what_rounds_between_devices_is_refused(device: Device) -> None:
    with pytest.raises(ConfigError, match=f"update_mode=DIFFERENTIABLE is not allowed .* {type(device).__name__}"):
        aj.TileConfig(device=device, update_mode=UpdateMode.DIFFERENTIABLE)


def test_other_modes_name_this_one() -> None:
    with pytest.raises(ModuleError, match=r"update_mode=UpdateMode\.DIFFERENTIABLE"):
        jax.grad(lambda rate: trained(aj.SingleRPUConfig(), jax.random.key(0), rate).weights.sum())(0.1)
