"""Reading weights as a chip can: through the converters, by least squares (spec: tile_ops, section 11)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from aihwjax import random
from aihwjax.random import Noise
from aihwjax.typing import Weights

SPREAD = 1 / 3
"""Standard deviation of the inputs of a read in units of the input range, so that few are clipped."""


def read_weights(
    product: Callable[[Float[Array, "n in"], Noise], Float[Array, "n out"]],
    in_size: int,
    key: Noise,
    *,
    over_sampling: int = 10,
    bias: bool = False,
    input_range: Float[Array, ""] | None = None,
) -> Weights:
    """Return the weights that explain noisy products of Gaussian inputs best, ``(out, in)``.

    Args:
        product: What multiplies: inputs ``(n, in)`` and a source of noise, to outputs ``(n, out)``.
        in_size: Number of inputs.
        key: Source of the inputs and of the noise.
        over_sampling: Number of vectors for each input.
        bias: Whether the product adds a bias: it is found as well, as last column.
        input_range: Range to which the product clips its inputs; ``None``: none, and the inputs are standard normal.
    """
    x = random.stream(random.derive(key, "inputs"), random.NoiseEngine.COUNTER).normal(
        (over_sampling * in_size, in_size)
    )
    x = x if input_range is None else x * (input_range * SPREAD)
    y = product(x, random.derive(key, "product"))
    columns = jnp.concatenate([x, jnp.ones((x.shape[0], 1), x.dtype)], axis=1) if bias else x
    with jax.default_matmul_precision("highest"):
        q, r = jnp.linalg.qr(columns)
        return solve_triangular(r, q.T @ y).T
