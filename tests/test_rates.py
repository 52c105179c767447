"""Learning rates that are not allowed are refused where they are known, schedules for all steps that will be taken."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from aihwjax import nn, optim, rates, tile
from aihwjax.errors import ConfigError, NonFiniteError
from aihwjax.tile.config import FloatingPointRPUConfig, SingleRPUConfig
from tests.experiments import small

CONFIG, KEY = SingleRPUConfig(), jax.random.key(0)
STATE = tile.init(CONFIG, KEY, (3, 4))
X, D = np.ones((2, 4), np.float32), np.full((2, 3), 0.1, np.float32)

WRONG = [-0.1, -1, float("nan"), float("inf"), 1e19, "fast", None, True, 1j]
WRONG += [kind(value) for kind in (np.float32, np.asarray, jnp.asarray) for value in (-0.1, float("nan"), float("inf"))]
WRONG += [np.array([0.1, 0.2]), jnp.array([-0.1]), np.array([[float("nan")]]), optax.sgd(0.1)]
RIGHT = [0, 0.5, np.float64(0.5), np.asarray(0.5), np.asarray([0.5]), jnp.asarray(0.5), jnp.asarray([[0.5]])]
TAKERS = {
    "update": lambda rate: tile.update(CONFIG, STATE, X, D, rate, KEY),
    "analog_sgd": optim.analog_sgd,
    "experiment": lambda rate: small.experiment(learning_rate=rate),
    "AnalogTile": lambda rate: nn.AnalogTile(4, 3, analog_bias=False, config=CONFIG, key=KEY).update(X, D, rate, KEY),
}


@pytest.mark.parametrize("rate", WRONG, ids=lambda rate: re.sub(r" at 0x\w+", "", repr(rate)))
@pytest.mark.parametrize("taker", TAKERS)
def test_a_rate_that_is_not_allowed_is_refused_at_once(taker: str, rate: Any) -> None:
    with pytest.raises(ConfigError, match=r"learning_rate=.* is not allowed: give a finite number") as caught:
        TAKERS[taker](rate)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", RIGHT, ids=lambda rate: re.sub(r" at 0x\w+", "", repr(rate)))
@pytest.mark.parametrize("taker", TAKERS)
def test_numbers_and_arrays_of_one_element_are_rates(taker: str, rate: Any) -> None:
    TAKERS[taker](rate)


def test_an_array_of_one_element_steps_like_its_number() -> None:
    wanted = TAKERS["update"](0.5).weights
    for rate in (np.asarray([0.5]), jnp.asarray([[0.5]])):
        np.testing.assert_array_equal(TAKERS["update"](rate).weights, wanted)
    traced = jax.jit(lambda rate: TAKERS["update"](rate).weights)
    np.testing.assert_array_equal(traced(jnp.asarray([0.5])), wanted)
    with pytest.raises(ConfigError, match="learning_rate="):
        traced(jnp.ones(2))


SCHEDULES = {
    "a Python if": (lambda step: 0.1 if step < 10 else 0.01, "looks at the value of its step .*: use jnp.where"),
    "float": (lambda step: 0.1 / (1 + float(step)), "looks at the value of its step"),
    "numpy": (lambda step: 0.1 * np.exp(-step), "looks at the value of its step"),
    "index": (lambda step: [0.1, 0.2][step], "looks at the value of its step"),
    "negative": (lambda step: -0.1, "learning_rate=-0.1 of the schedule at step 0 is not allowed"),
    "text": (lambda step: "0.1", "learning_rate='0.1' of the schedule at step 0"),
    "nothing": (lambda step: None, "learning_rate=None of the schedule at step 0"),
    "several": (lambda step: jnp.full(3, 0.1), "of the schedule at step 0 is not allowed"),
    "no argument": (lambda: 0.1, "give a number, or a function of the step"),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_cannot_be_used_is_refused_with_the_experiment(name: str) -> None:
    schedule, message = SCHEDULES[name]
    with pytest.raises(ConfigError, match=message) as caught:
        small.experiment(learning_rate=schedule)
    assert "\n" not in str(caught.value)


def test_a_schedule_with_a_python_if_works_step_by_step_and_is_refused_in_a_compiled_one() -> None:
    layer = nn.AnalogLinear(4, 3, config=FloatingPointRPUConfig(), rngs=nnx.Rngs(0))
    optimizer = optim.analog_sgd(lambda step: 0.1 if step < 1 else -0.1)
    _, gradients = nn.value_and_grad(lambda layer: (layer(X, key=KEY) ** 2).sum())(layer)
    state = optimizer.update(layer, gradients, optimizer.init(layer), KEY)
    with pytest.raises(ConfigError, match="learning_rate=-0.1 of the schedule at step 1 is not allowed"):
        optimizer.update(layer, gradients, state, KEY)
    with pytest.raises(ConfigError, match="looks at the value of its step"):
        nnx.jit(lambda layer, state: optimizer.update(layer, gradients, state, KEY))(layer, state)


def test_gradients_that_are_not_finite_are_refused_step_by_step() -> None:
    layer = nn.AnalogLinear(4, 3, config=CONFIG, rngs=nnx.Rngs(0))
    optimizer = optim.analog_sgd(0.1)
    _, gradients = nn.value_and_grad(lambda layer: layer(X, key=KEY).sum() * jnp.nan)(layer)
    with pytest.raises(NonFiniteError, match="d has 6 NaN or infinite of 6 values"):
        optimizer.update(layer, gradients, optimizer.init(layer), KEY)


@pytest.mark.parametrize(("first", "end"), [(0, 10), (7, 10), (0, 200_000)])
def test_all_steps_of_a_schedule_are_looked_at_before_they_are_taken(first: int, end: int) -> None:
    last = end - 1
    check = rates.ScheduleCheck(lambda step: jnp.where(step == last, jnp.nan, 0.1), first, end, 5)
    with pytest.raises(ConfigError, match=f"learning_rate=nan of the schedule at step {last} is not allowed"):
        check.before(end)
    rates.ScheduleCheck(lambda step: jnp.where(step >= end, -1.0, 0.1), first, end).before(end)
    rates.ScheduleCheck(0.1, first, end).before(end)


def test_a_step_that_cannot_raise_returns_nan() -> None:
    layer = nn.AnalogLinear(4, 3, config=CONFIG, rngs=nnx.Rngs(0))
    parts = optim.take_apart(layer)

    def step(rate: jax.Array, factor: jax.Array) -> jax.Array:
        # the loss is finite, its gradient need not be
        loss = lambda layer, key: jnp.sqrt(factor * (layer(X, key=key) ** 2).sum())  # noqa: E731
        optimizer = optim.analog_sgd(rate)
        return optim.training_step(loss, optimizer, parts)(parts.moving, optimizer.init(layer), parts.fixed, KEY)[2]

    cases = [(0.1, 1.0), (-0.1, 1.0), (float("nan"), 1.0), (float("inf"), 1.0), (0.1, 0.0), (0.0, 1.0)]
    losses = jax.jit(jax.vmap(step))(*jnp.asarray(cases).T)
    np.testing.assert_array_equal(np.isfinite(losses), [True, False, False, False, False, True])
