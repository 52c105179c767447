"""The running maxima of the automatic scale: all vectors at once as one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax.compounds.chopped import running_maximum


@pytest.mark.parametrize("start", [0.0, 0.7])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.5, 1.0])
def test_all_at_once_is_one_by_one(key: jax.Array, start: float, rate: float) -> None:
    one, two, three = jax.random.split(key, 3)
    values = jax.random.uniform(one, (23,)) * jax.random.bernoulli(two, 0.8, (23,))
    active = jax.random.bernoulli(three, 0.8, (23,)).at[0].set(False)
    expected, now = [], start
    for value, on in zip(np.asarray(values), np.asarray(active), strict=True):
        if on and value > 0:
            now = value if now <= 0 else (1 - rate) * now + rate * value
        expected.append(now)
    found = running_maximum(jnp.asarray(start), values, active, jnp.asarray(rate))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
