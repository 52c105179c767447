"""Matrix products in single precision on every platform.

Left to themselves, GPUs round the factors of a product to 10 bits (TF32) and TPUs to 7 (bfloat16). That is no
better than the converters that are simulated, and a rank-one step would lose what a device can resolve.
"""

from __future__ import annotations

import jax
from jax import lax

_HIGHEST = lax.Precision.HIGHEST


def product(z: jax.Array, weights: jax.Array, *, transposed: bool = False) -> jax.Array:
    """Return the product ``(n, out)`` of inputs ``(n, in)`` with weights ``(out, in)``.

    Args:
        z: Inputs.
        weights: Weights.
        transposed: Whether ``weights`` is the transpose of an array in memory.
    """
    if transposed or weights.shape[1] == 1:  # a column is the same in either layout
        return _inputs_first(z, weights)
    return lax.platform_dependent(z, weights, cpu=_weights_first, default=_inputs_first)


def _inputs_first(z: jax.Array, weights: jax.Array) -> jax.Array:
    return lax.dot_general(z, weights, (((1,), (1,)), ((), ())), precision=_HIGHEST)


def _weights_first(z: jax.Array, weights: jax.Array) -> jax.Array:
    """The same without a copy of the weights in another layout, a quarter of the work of a CPU at 64 vectors."""
    currents = lax.dot_general(weights, z, (((1,), (1,)), ((), ())), precision=_HIGHEST)
    # the compiler would move the transposition into the product and copy the weights again
    return lax.optimization_barrier(currents).T


def product_of_lines(z: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the product ``(in, out)`` of as many inputs as there are lines, each of which drives one line alone.

    The same numbers as those of :func:`product` with the diagonal matrix of ``z``.

    Args:
        z: What input i puts on line i, ``(in, 1)``.
        weights: Weights ``(out, in)``.
    """
    return z * weights.T


def outer(d: jax.Array, x: jax.Array) -> jax.Array:
    """Return the sum ``(out, in)`` of the outer products of ``d`` ``(n, out)`` with ``x`` ``(n, in)``."""
    return lax.dot_general(d.T, x, (((1,), (0,)), ((), ())), precision=_HIGHEST)
