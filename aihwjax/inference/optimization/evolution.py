"""Search for tables by differential evolution, which needs no derivative: that of SciPy, a population at once."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from aihwjax.inference.optimization.objective import Problem, mean_error
from aihwjax.inference.optimization.tables import Space

_POPULATION = 6
"""Points of a generation for each dimension."""
_TOGETHER = 16
"""Points that are computed at once."""


def search(
    space: Space, problem: Problem, key: Key[Array, ""], *, draws: int, generations: int
) -> tuple[Float[np.ndarray, " size"], int]:
    """Return the best point that was found, and the number of chips that were simulated.

    All points are compared on chips of the same draws, so that none wins by luck.

    Args:
        space: What is searched.
        problem: Weights and times.
        key: Source of the population and of all noise.
        draws: Chips of each point.
        generations: Number of generations.
    """
    from scipy.optimize import differential_evolution

    noise, own = jax.random.split(key)
    chips = jax.random.split(noise, draws)

    seen = 0

    def losses(places: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += places.shape[1]
        return np.asarray(_losses(space, problem, jnp.asarray(places.T, jnp.float32), chips), np.float64)

    found = differential_evolution(
        losses,
        [(0.0, 1.0)] * space.size,
        x0=np.asarray(space.plain()),
        maxiter=generations,
        popsize=_POPULATION,
        tol=0.0,
        polish=False,
        vectorized=True,
        updating="deferred",
        seed=np.random.default_rng(np.asarray(jax.random.bits(own, (2,)))),
    )
    return np.asarray(found.x), draws * seen


@partial(jax.jit, static_argnums=0)
def _losses(
    space: Space, problem: Problem, places: Float[Array, "points size"], keys: Key[Array, " chips"]
) -> Float[Array, " points"]:
    def loss(place: Float[Array, " size"]) -> Float[Array, ""]:
        value = mean_error(space, problem, place, keys)
        return jnp.where(jnp.isnan(value), jnp.inf, value)

    return jax.lax.map(loss, places, batch_size=_TOGETHER)
