"""Passes of an array whose inputs are pulses: which bits of the input code each of them carries.

With ``h`` the input in steps of the DAC, and ``s = split_mode_bit_shift`` (spec: forward, section 11.2)::

    ONE_PASS      h
    SPLIT_MODE    the lower s bits of h with weight 1, the others with weight 2^s
    BIT_WISE      each bit of |h| with its sign and its weight

The passes times their weights add up to the input, whatever its fraction of a step (input noise); the fraction is part
of the lowest bits. Rounding has the slope 1, so that the highest pass carries the derivative.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from aihwjax.derivatives import passed_through
from aihwjax.tile.product.converters import single, step_size
from aihwjax.tile.product.io import AnalogMVType
from aihwjax.tile.product.io_timed import IOParametersIRDropT

_ROUNDING = 1e-3
"""A code this near to a whole number is one: single precision has no better."""


class Pass(NamedTuple):
    """One pass of the array."""

    z: jax.Array
    """Inputs ``(n, in)``, in units of the input."""
    weight: float
    """Weight of its outputs."""
    longest: jax.Array
    """Number of time slots of the longest pulse; there is one slot more, in which all lines are at rest."""


def passes(io: IOParametersIRDropT, z: jax.Array) -> list[Pass]:
    """Return the passes of prepared inputs, from the lowest bits to the highest.

    Args:
        io: Parameters of the product.
        z: Prepared inputs ``(n, in)``.
    """
    longest = longest_pulse(io)
    size = code_size(io)
    if io.mv_type is AnalogMVType.SPLIT_MODE:
        top = 2**io.split_mode_bit_shift
        code = _codes(z, size)
        high = _whole(code / top)
        low = Pass(size * (code - top * high), 1.0, single(top - 1))
        return [low, Pass(size * high, float(top), jnp.floor(longest / top + _ROUNDING))]
    if io.mv_type is AnalogMVType.BIT_WISE:
        assert io.input_bits is not None
        rest, found = _codes(z, size), []
        for bit in range(io.input_bits - 1):
            half = _whole(rest / 2)
            found.append(Pass(size * (rest - 2 * half), 2.0**bit, single(1)))
            rest = half
        return [*found, Pass(size * rest, 2.0 ** (io.input_bits - 1), single(1))]
    return [Pass(z, 1.0, longest)]


def holds_bits(io: IOParametersIRDropT) -> jax.Array | None:
    """Return whether ``inp_res`` has the bits that the program is for; ``None`` if it doesn't matter."""
    if io.mv_type is AnalogMVType.SPLIT_MODE:
        return jnp.floor(longest_pulse(io) + _ROUNDING) >= 2**io.split_mode_bit_shift
    if io.mv_type is AnalogMVType.BIT_WISE:
        assert io.input_bits is not None
        whole = jnp.floor(longest_pulse(io) + _ROUNDING)
        return (whole >= 2 ** (io.input_bits - 1)) & (whole < 2**io.input_bits)
    return None


def longest_pulse(io: IOParametersIRDropT) -> jax.Array:
    """Return the largest input code, the number of time slots of the longest pulse."""
    return 1 / step_size(1.0, io.inp_res)


def code_size(io: IOParametersIRDropT) -> jax.Array:
    """Return the step of the DAC, the input of one time slot."""
    return step_size(io.inp_bound, io.inp_res)


def _codes(z: jax.Array, size: jax.Array) -> jax.Array:
    """Return inputs in steps, exactly whole where they should be."""
    code = z / size
    nearest = jnp.round(code)
    return passed_through(code, jnp.where(jnp.abs(code - nearest) < _ROUNDING, nearest, code))


def _whole(values: jax.Array) -> jax.Array:
    return passed_through(values, jnp.trunc(values))
