"""Search for tables by gradients: noise is a function of the tables and of draws, so its mean has a derivative."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from aihwjax.inference.optimization.objective import Problem, judged, mean_error
from aihwjax.inference.optimization.tables import Space

_STARTS = 4
"""Points from which the search begins, the first of them the plain pairs."""
_RATE = 0.03
"""Rate of the first step, which falls to 0 as half a cosine."""


def search(
    space: Space, problem: Problem, key: Key[Array, ""], judges: Key[Array, " chips"], *, draws: int, steps: int
) -> tuple[Float[np.ndarray, " size"], int]:
    """Return the best point that was found, and the number of chips that were simulated.

    Args:
        space: What is searched.
        problem: Weights and times.
        key: Source of the starts and of the noise of the steps.
        judges: Chips on which the ends of the ways are compared, and the plain pairs.
        draws: Chips of each step.
        steps: Number of steps.
    """
    places = np.asarray(_run(space, draws, steps, problem, key), np.float64)
    losses = [judged(space, problem, place, judges).mean() for place in places]
    return places[int(np.argmin(losses))], draws * _STARTS * steps + len(places) * judges.shape[0]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _run(space: Space, draws: int, steps: int, problem: Problem, key: Key[Array, ""]) -> Float[Array, "points size"]:
    first, noise = jax.random.split(key)
    starts = jnp.vstack([space.plain(), jax.random.uniform(first, (_STARTS - 1, space.size))])
    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, steps))

    def loss(place: Float[Array, " size"], key: Key[Array, ""]) -> Float[Array, ""]:
        return mean_error(space, problem, place, jax.random.split(key, draws))

    def from_one(given: tuple[Float[Array, " size"], Key[Array, ""]]) -> Float[Array, " size"]:
        start, noise = given

        def step(
            now: tuple[Float[Array, " size"], optax.OptState], key: Key[Array, ""]
        ) -> tuple[tuple[Float[Array, " size"], optax.OptState], None]:
            place, state = now
            slope = jax.grad(loss)(place, key)
            # where a conductance is exactly 0 its noise, a root, has no finite slope: such a draw says nothing
            slope = jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0.0), slope)
            update, state = optimizer.update(slope, state)
            # back into the cube: the best tables often are at its faces
            return (optax.projections.projection_hypercube(optax.apply_updates(place, update)), state), None

        (place, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), jax.random.split(noise, steps))
        return place

    return jnp.vstack([starts[:1], jax.lax.map(from_one, (starts, jax.random.split(noise, _STARTS)))])
