"""One reading of the array: what its lines carry, the passes that it takes, and the codes of its outputs.

In the order of the signal (spec: forward, sections 6 to 8 and 11.2). What a reading makes of its codes, and whether
there is another one, is :mod:`~aihwjax.tile.product.mvm`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aihwjax.random import Draws
from aihwjax.tile.product.array import array_output
from aihwjax.tile.product.bits import Pass, passes
from aihwjax.tile.product.charge import ChargeReading, charge
from aihwjax.tile.product.converters import Converter, single
from aihwjax.tile.product.frozen import calibrates_slope, reads_asymmetrically, spreads_noise
from aihwjax.tile.product.io import BIT_TYPES, AnalogMVType, IOParameters
from aihwjax.tile.product.io_timed import IOParametersIRDropT
from aihwjax.tile.product.wires import Columns, Lines, lines
from aihwjax.tile.state import FrozenIO


class Array(NamedTuple):
    """The crosspoints that a pass reads."""

    weights: jax.Array
    """Their weights ``(out, in)``."""
    lines: Lines | None
    """Their devices, where a product has to know them."""


def prepared(io: IOParameters, dac: Converter, v: jax.Array, source: Draws) -> jax.Array:
    """Return what the lines carry (section 6): DAC, clip, noise (which may exceed the bound), asymmetry.

    Args:
        io: Parameters of this direction.
        dac: Input converter.
        v: Scaled inputs ``(n, in)``.
        source: Noise of this reading.
    """
    v = dac.clip(dac.quantise(v, source))
    if io.present("inp_noise"):
        v = v + single(io.inp_noise) * source.child("inp_noise").normal(v.shape)
    if io.present("inp_asymmetry"):
        v = jnp.where(v < 0, v * (1 - single(io.inp_asymmetry)), v)
    return v


def arrays(io: IOParameters, frozen: FrozenIO, weights: jax.Array, columns: Columns | None) -> tuple[Array, Array]:
    """Return what the pass of negative inputs reads, and what all others do.

    Args:
        io: Parameters of this direction.
        frozen: Frozen draws of this direction.
        weights: Weights of this direction ``(out, in)``.
        columns: What is known of the devices.
    """
    array = Array(weights, lines(io, columns, weights))
    if not reads_asymmetrically(io):
        return array, array
    assert frozen.w_asymmetry is not None
    other = weights * frozen.w_asymmetry
    return Array(other, lines(io, columns, other)), array


def converted(
    io: IOParameters,
    frozen: FrozenIO,
    adc: Converter,
    arrays: tuple[Array, Array],
    z: jax.Array,
    source: Draws,
    *,
    transposed: bool,
    smooth: bool = False,
    line_by_line: bool = False,
) -> tuple[list[jax.Array], list[float]]:
    """Return the codes of each conversion before the clip, and how they count in the sum (sections 7.4 and 11.2).

    Args:
        io: Parameters of this direction.
        frozen: Frozen draws of this direction.
        adc: Output converter.
        arrays: From :func:`arrays`.
        z: Prepared inputs ``(n, in)``.
        source: Noise of this reading.
        transposed: Whether weights are the transpose of an array in memory.
        smooth: Whether to count charge without rounding it.
        line_by_line: Whether ``z`` is ``(in, 1)``, and input i drives line i alone.
    """

    def currents(array: Array, z: jax.Array, source: Draws, each: Pass | None = None) -> jax.Array:
        devices = None
        if array.lines is not None:
            assert isinstance(io, IOParametersIRDropT)
            reading = ChargeReading(each or passes(io, z)[0], array.lines.quirks, smooth)
            devices = partial(charge, io, array.lines, array.weights, reading, source)
        return array_output(io, frozen, array.weights, z, source, transposed, devices, line_by_line)

    negative, array = arrays
    if io.mv_type is AnalogMVType.ONE_PASS:
        return [_codes(io, frozen, adc, currents(array, z, source), source)], [1.0]
    if isinstance(io, IOParametersIRDropT) and io.mv_type in BIT_TYPES:
        every = passes(io, z)
        sources = [source.child(f"pass {number}") for number in range(len(every))]
        read = [currents(array, each.z, own, each) for each, own in zip(every, sources, strict=True)]
        codes = [_codes(io, frozen, adc, current, own) for current, own in zip(read, sources, strict=True)]
        return codes, [each.weight for each in every]
    minus, plus = source.child("negative_pass"), source.child("positive_pass")
    below = currents(negative, jnp.minimum(z, 0), minus)
    above = currents(array, jnp.maximum(z, 0), plus)
    if io.mv_type is AnalogMVType.POS_NEG_SEPARATE:
        return [_codes(io, frozen, adc, below + above, source)], [1.0]
    return [_codes(io, frozen, adc, below, minus), _codes(io, frozen, adc, above, plus)], [1.0, 1.0]


def counted(code: jax.Array, count: float) -> jax.Array:
    """Return a code times how it counts in the sum.

    Args:
        code: The code ``(n, out)``.
        count: As :func:`converted` returned it.
    """
    return code if count == 1 else code * count


def _codes(io: IOParameters, frozen: FrozenIO, adc: Converter, v: jax.Array, source: Draws) -> jax.Array:
    """Return the quantised outputs before the clip (section 8): compression, asymmetry, noise, ADC."""
    if io.present("out_nonlinearity"):
        assert frozen.out_nonlinearity is not None
        v = v / (1 + jnp.abs(frozen.out_nonlinearity[None, :] * v))
    if calibrates_slope(io):
        assert frozen.out_nonlinearity_factor is not None
        v = frozen.out_nonlinearity_factor * v
    if io.present("out_asymmetry"):
        v = jnp.where(v < 0, v * (1 - jnp.maximum(single(io.out_asymmetry), 0)), v)
    if io.present("out_noise"):
        spread = single(io.out_noise)
        if spreads_noise(io):
            assert frozen.out_noise_values is not None
            spread = frozen.out_noise_values[None, :]
        v = v + spread * source.child("out_noise").normal(v.shape)
    return adc.quantise(v, source)
