"""Schedules as pytrees: the same rates as a plain function of the step, with numbers that can be changed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import aihwjax as aj
from aihwjax.errors import ConfigError
from aihwjax.layer_rates import parted


def test_numbers_are_leaves_and_the_rest_is_structure() -> None:
    rate = aj.schedule(optax.cosine_decay_schedule, init_value=0.1, decay_steps=100, alpha=0.01)
    assert rate.numbers == ("init_value", "alpha") and jax.tree.leaves(rate) == [0.1, 0.01]
    same, other = rate.replace(alpha=0.5), rate.replace(decay_steps=50)
    assert jax.tree.structure(same) == jax.tree.structure(rate) != jax.tree.structure(other)
    plain = optax.cosine_decay_schedule(0.1, 50, 0.01)
    np.testing.assert_array_equal([other(step) for step in (0, 7, 60)], [plain(step) for step in (0, 7, 60)])


def test_one_program_for_all_numbers() -> None:
    traced = []

    @jax.jit
    def rates(rate: Any, steps: jax.Array) -> jax.Array:
        traced.append(1)
        return jax.vmap(rate)(steps)

    rate, steps = aj.schedule(aj.step_decay, init_value=0.5, factor=0.5, every=4), jnp.arange(9)
    for factor in (0.5, 0.25):
        found = rates(parted(rate.replace(factor=factor))[1], steps)
        np.testing.assert_allclose(found, 0.5 * factor ** (np.arange(9) // 4), rtol=1e-6)
    assert len(traced) == 1
    slope = jax.grad(lambda factor: rate.replace(factor=factor)(5))(0.5)
    assert slope == pytest.approx(0.5)


def test_smooth_decay_is_that_of_optax() -> None:
    mine = aj.schedule(aj.exponential_decay, init_value=0.3, factor=0.7, every=5)
    theirs = optax.exponential_decay(0.3, 5, 0.7)
    np.testing.assert_allclose([mine(s) for s in range(12)], [theirs(s) for s in range(12)], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aj.schedule(aj.step_decay, init_valu=1.0), "no argument 'init_valu'; did you mean 'init_value'"),
        (lambda: aj.schedule(aj.step_decay, init_value=1.0), "step_decay refuses its arguments"),
        (lambda: aj.schedule(optax.cosine_decay_schedule, init_value=1.0, decay_steps=-1), "refuses its arguments"),
        (lambda: aj.schedule(max, a=3), "max"),
        (lambda: aj.schedule(3), "function=3 is not allowed"),  # type: ignore[arg-type]
        (
            lambda: aj.schedule(aj.step_decay, init_value=1.0, factor=0.5, every=2).replace(fact=2),
            "no argument 'fact'; did you mean 'factor'",
        ),
    ],
)
def test_mistakes_are_one_line(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
