"""Bound management: repeat with a smaller input while an output is clipped (spec: forward, section 5).

The input of a clipped vector is divided by k = 2, 4, 8, …, until nothing is clipped or until::

    k > max_bm_factor   or   (q_inp > 0 and k > max_bm_res / q_inp)      with the k just used

``ITERATIVE_WORST_CASE`` repeats first with the scale of ``ABS_MAX_NP_SUM`` and k = 1. All vectors
of a batch that still repeat share k, so a batch repeats together; a vector that was right keeps
its result. The noise of every round is fresh and only the last round counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.loops import repeat_while
from aihwjax.tile.product.converters import Converter, single
from aihwjax.tile.product.io import IOParameters
from aihwjax.tile.product.straight_through import Reading


class Round(NamedTuple):
    """What one round leaves."""

    y: jax.Array
    """Outputs, rescaled, ``(n, out)``."""
    failed: jax.Array
    """Which vectors want another round, ``(n, 1)``."""
    clipped: jax.Array | None
    """Which outputs the ADC clipped, ``(n, out)``; ``None`` if nobody asks."""
    reading: Reading | None
    """Which round it is; ``None`` if nobody asks."""


def repeat_clipped(
    io: IOParameters,
    dac: Converter,
    first: Round,
    next_round: Callable[[jax.Array, jax.Array], Round],
    *,
    restart: bool,
) -> Round:
    """Repeat the vectors that failed until they pass or the limits are reached.

    Args:
        io: Parameters of this direction.
        dac: Input converter.
        first: The round with k = 1.
        next_round: Computes all vectors with a given k and the fresh noise of a given round.
        restart: Whether the second round has k = 1 again, because it has another input scale.
    """

    def wants_more(carry: tuple[jax.Array, jax.Array, Round]) -> jax.Array:
        _, factor, result = carry
        return jnp.any(result.failed) & ~_exhausted(io, dac, jnp.maximum(factor / 2, 1))

    def repeat(carry: tuple[jax.Array, jax.Array, Round]) -> tuple[jax.Array, jax.Array, Round]:
        index, factor, old = carry
        new = next_round(factor, index)
        kept = jax.tree.map(partial(jnp.where, old.failed), new, old)
        return index + 1, factor * 2, kept._replace(failed=old.failed & new.failed)

    start = (jnp.int32(1), single(1.0 if restart else 2.0), first)
    return repeat_while(wants_more, repeat, start)[2]


def has_failed(io: IOParameters, adc: Converter, codes: jax.Array, quirks: bool) -> jax.Array:
    """Return which vectors ``(n, 1)`` were clipped in a way that counts.

    Args:
        io: Parameters of this direction.
        adc: Output converter.
        codes: Quantised outputs before the clip ``(n, out)``.
        quirks: Without ``bm_test_negative_bound``, let the last clipped output of a vector decide.
    """
    assert adc.bound is not None  # there is nothing to manage without a range
    if io.bm_test_negative_bound:
        return jnp.max(jnp.abs(codes), axis=1, keepdims=True) > adc.bound
    if not quirks:
        return jnp.max(codes, axis=1, keepdims=True) > adc.bound
    # spec: forward, section 16, bug 2: a negative clip resets what an earlier output has found.
    position = lax.broadcasted_iota(jnp.int32, codes.shape, 1) + 1
    last_above = jnp.max(jnp.where(codes > adc.bound, position, 0), axis=1, keepdims=True)
    last_below = jnp.max(jnp.where(codes < -adc.bound, position, 0), axis=1, keepdims=True)
    return last_above > last_below


def _exhausted(io: IOParameters, dac: Converter, factor: jax.Array) -> jax.Array:
    reached = factor > single(io.max_bm_factor)
    if dac.step is None:
        return reached
    finest = single(io.max_bm_res) / jnp.where(dac.step > 0, dac.step, 1)
    return reached | ((dac.step > 0) & (factor > finest))
