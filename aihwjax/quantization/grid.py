"""Numbers rounded to a uniform grid, as pure functions (spec: layers, section 12)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from aihwjax import arguments, showing
from aihwjax.derivatives import passed_through
from aihwjax.typing import Number

SMALLEST_STEP = 1e-8
"""Smallest step of a grid, and smallest upper end of a range."""
_UP = 1 + 2.0**-20
"""The middle of a range of -r to r is between two steps: it goes to the upper, however the division is compiled."""


@arguments.answering
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Grid(showing.Record):
    """A uniform grid; with channels one for each of them."""

    step: Float[Array, "*channels"]
    """Distance of two neighbours, Δ."""
    offset: Float[Array, "*channels"] | None
    """Which step, counted from the lower end, is 0, before it is rounded; ``None``: the grid is symmetric."""
    signed: Bool[Array, ""] | None
    """Whether a symmetric grid goes below 0; ``None``: it is not symmetric."""


@arguments.answered
def uniform_grid(
    n_bits: Number, symmetric: bool, low: Float[Array, "*channels"], high: Float[Array, "*channels"]
) -> Grid:
    """Return the grid for numbers of a range, widened to include 0.

    ::

        symmetric:   Δ = max(|low|, high) / (2^(n - s) - 1),  s = 1 if any low < 0, else 0
        asymmetric:  Δ = (high - low) / (2^n - 1),            offset = -low / Δ

    Args:
        n_bits: Number of bits, at least 2 where the grid has a sign.
        symmetric: Whether 0 is its middle, or its lower end.
        low: Smallest number; of each channel.
        high: Largest number; of each channel.
    """
    low, high = jnp.minimum(low, 0.0), jnp.maximum(high, SMALLEST_STEP)
    if symmetric:
        signed = jnp.min(low) < 0
        top = jnp.where(signed, power(n_bits, -1) - 1, power(n_bits) - 1)
        return Grid(jnp.maximum(-low, high) / top, None, signed)
    step = (high - low) / (power(n_bits) - 1)
    return Grid(step, -low / step, None)


@arguments.answered
def quantize(x: Float[Array, "*shape"], grid: Grid, n_bits: Number) -> Float[Array, "*shape"]:
    """Return numbers rounded to a grid and clipped to its ends; half a step goes to the even neighbour.

    ::

        symmetric:   q = Δ clip(round(x / Δ), -2^(n - 1), 2^(n - 1) - 1), without a sign clip(..., 0, 2^n - 1)
        asymmetric:  q = Δ (clip(round(x / Δ) + z, 0, 2^n - 1) - z),  z = clip(round(offset), 0, 2^n - 1)

    The derivative passes rounding, and is 0 where a number is clipped. That of Δ is the code less x / Δ, or the end of
    the grid where a number is clipped.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([-1.0, -0.3, 0.2, 0.9])
        >>> [round(each, 3) for each in quantize(x, uniform_grid(3, True, x.min(), x.max()), 3).tolist()]
        [-1.0, -0.333, 0.333, 1.0]

    Args:
        x: The numbers; with channels, these are the first axis.
        grid: The grid.
        n_bits: Number of bits; 0 gives back ``x``.
    """
    if isinstance(n_bits, int | float) and n_bits <= 0:
        return x
    step = jnp.where(grid.step < SMALLEST_STEP, SMALLEST_STEP, grid.step)
    step = _along(step, x)
    codes = _rounded(x / step)
    if grid.offset is None:
        assert grid.signed is not None
        half, whole = power(n_bits, -1), power(n_bits)
        low, high = jnp.where(grid.signed, -half, 0.0), jnp.where(grid.signed, half - 1, whole - 1)
        found = step * _clipped(codes, low, high)
    else:
        last = power(n_bits) - 1
        zero = _along(_clipped(passed_through(grid.offset, jnp.round(grid.offset * _UP)), 0, last), x)
        found = step * (_clipped(codes + zero, 0, last) - zero)
    return found if isinstance(n_bits, int | float) else jnp.where(n_bits > 0, found, x)


def power(n_bits: Number, shift: int = 0) -> Number:
    """Return 2^(n + shift), exactly; a traced n of 0 counts as 2, for a grid that nobody uses.

    Args:
        n_bits: Number of bits n.
        shift: What is added to it.
    """
    if isinstance(n_bits, int | float):
        return 2.0 ** (n_bits + shift)
    bits = jnp.where(n_bits > 0, n_bits, 2).astype(jnp.int32)
    return jnp.ldexp(jnp.float32(1), bits + shift)


def _rounded(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return passed_through(x, jnp.round(x))


def _clipped(x: Float[Array, "*shape"], low: Number, high: Number) -> Float[Array, "*shape"]:
    """Return numbers within two ends; unlike that of ``jnp.clip``, the derivative at an end is 1."""
    return jnp.where(x > high, high, jnp.where(x < low, low, x))


def _along(values: Float[Array, "*channels"], x: Float[Array, "*shape"]) -> Float[Array, ...]:
    """Return a number for each channel as it fits the numbers, whose channels are their first axis."""
    return values if jnp.ndim(values) == 0 else values.reshape(-1, *(1,) * (x.ndim - 1))
