"""What nobody can refuse inside a compiled program shows in what is trained: the first weight becomes NaN."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn, tile

CONFIGS = {"pulsed": aj.SingleRPUConfig(), "exact": aj.FloatingPointRPUConfig()}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("rate", [-0.1, np.nan, np.inf])
def test_a_traced_rate_that_is_none(kind: str, rate: float, key: jax.Array) -> None:
    config = CONFIGS[kind]
    state = tile.init(config, key, (3, 4))
    step = jax.jit(lambda state, rate: tile.update(config, state, jnp.ones((2, 4)), jnp.ones((2, 3)), rate, key))
    assert np.isnan(step(state, rate).weights[0, 0])
    assert np.isfinite(step(state, 0.1).weights).all()


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["x", "d"])
def test_traced_values_that_are_not_finite(kind: str, place: str, value: float, key: jax.Array) -> None:
    config = CONFIGS[kind]
    state = tile.init(config, key, (3, 4))
    values: dict[str, Any] = {"x": jnp.ones((2, 4)), "d": jnp.ones((2, 3))}
    step = jax.jit(lambda state, values: tile.update(config, state, values["x"], values["d"], 0.1, key))
    assert np.isfinite(step(state, values).weights).all()
    assert not np.isfinite(step(state, {**values, place: values[place].at[1, 2].set(value)}).weights).all()


def test_a_schedule_that_turns_negative_in_a_loop_of_ones_own(key: jax.Array) -> None:
    layer = nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
    optimizer = aj.analog_sgd(optax.linear_schedule(0.1, -0.3, 3))
    state = optimizer.init(layer)

    @nnx.jit
    def step(layer: nn.AnalogLinear, state: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        value, gradients = nn.value_and_grad(lambda layer: layer(jnp.ones((2, 4)), key=key).mean())(layer)
        return value, optimizer.update(layer, gradients, state, jax.random.fold_in(key, 1))

    losses = []
    for number in range(4):
        value, state = step(layer, state, jax.random.fold_in(key, number))
        losses.append(float(value))
    # the rate of the second step is -0.03
    assert np.isfinite(losses[:2]).all() and np.isnan(losses[2:]).all()


def test_soft_bounds_with_a_traced_bound_of_zero(key: jax.Array) -> None:
    def moved(bottom: jax.Array) -> jax.Array:
        config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(w_min=bottom, w_max=1.0))
        state = tile.init(config, key, (3, 4))
        return tile.update(config, state, jnp.ones((2, 4)), jnp.ones((2, 3)), 0.1, key).weights

    found = jax.jit(jax.vmap(moved))(jnp.array([-1.0, 0.0]))
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).any()


@pytest.mark.parametrize("name", ["config", "weight", "weights"])
def test_what_a_layer_does_not_have_cannot_be_set(name: str) -> None:
    layer = nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
    with pytest.raises(AttributeError, match=f"'{name}' of 'AnalogLinear' object is not allowed to be set: its tiles"):
        setattr(layer, name, jnp.zeros((3, 4)))
