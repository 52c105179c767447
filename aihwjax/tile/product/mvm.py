"""The analog matrix-vector product of one direction of a tile (spec: forward, sections 3 to 9).

For each input vector by itself::

    α = noise management(x)                    input_scale.py
    for k = 1, 2, 4, …                         bound_management.py
        z = DAC(x / (α k)) + noise             converters.py
        y = ADC(array(z) + noise)              conversions.py, array.py
        until no output was clipped
    y ← y · out_scale · α k

The first round is a matrix product with fused element-wise work around it. Further rounds run in a
loop that is entered only if some vector of the batch was clipped. A gradient takes the rounds that counted
once more, as straight_through.py says.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from aihwjax.products import product, product_of_lines
from aihwjax.random import Draws, Stream
from aihwjax.tile.product.array import reads_line_by_line
from aihwjax.tile.product.bits import holds_bits
from aihwjax.tile.product.bound_management import Round, has_failed, repeat_clipped
from aihwjax.tile.product.conversions import arrays, converted, counted, prepared
from aihwjax.tile.product.converters import Converter, has_range, input_converter, output_converter, single
from aihwjax.tile.product.frozen import check_frozen, freeze, is_exact
from aihwjax.tile.product.input_scale import advance_running, input_scale, scale_matters, silent, worst_case_scale
from aihwjax.tile.product.io import BoundManagementType, IOParameters, NoiseManagementType
from aihwjax.tile.product.io_timed import IOParametersIRDropT
from aihwjax.tile.product.straight_through import Reading, replayed, with_derivative
from aihwjax.tile.product.wires import Columns
from aihwjax.tile.state import FrozenIO

__all__ = ["advance_running", "analog_product", "freeze", "reads_line_by_line"]

_MASK_MARGIN = 0.999


def analog_product(
    io: IOParameters,
    frozen: FrozenIO,
    weights: jax.Array,
    x: jax.Array,
    stream: Stream,
    *,
    bound_managed: bool,
    running: jax.Array | None = None,
    quirks: bool = False,
    torch_tile: bool = False,
    want_mask: bool = False,
    transposed: bool = False,
    columns: Columns | None = None,
    line_by_line: bool = False,
) -> tuple[jax.Array, jax.Array | None]:
    """Return the product of each input vector with the weights, as the hardware computes it.

    The noise of a vector depends on the stream and on its index in the batch only.

    Args:
        io: Parameters of this direction.
        frozen: Frozen draws of this direction, from :func:`freeze`.
        weights: Weights of this direction ``(out, in)``; the backward product passes the transpose.
        x: Input vectors ``(n, in)``.
        stream: Noise of this product.
        bound_managed: Whether this direction has bound management (forward yes, backward no).
        running: Running value before this batch, for ``AVERAGE_ABS_MAX`` (see :func:`advance_running`).
        quirks: Reproduce the reference's test of negative clipping and its mask.
        torch_tile: With ``quirks``, those of the reference's torch tile: no ``out_scale`` on a perfect product, bound
            management of all vectors together, and vectors without a scale are converted as they are.
        want_mask: Whether to return which outputs are clipped.
        transposed: Whether ``weights`` is the transpose of an array in memory, as in the backward product.
        columns: What is known of the devices; needed with :class:`IOParametersIRDropT`.
        line_by_line: Whether ``x`` is ``(in, 1)``: vector i drives line i alone, as in the product with a diagonal
            matrix that this takes the place of. Only where :func:`reads_line_by_line` says so.

    Returns:
        Outputs ``(n, out)``, and a mask ``(n, out)`` of the outputs whose gradient is not passed
        back: those that the ADC clipped. ``None`` if not asked for or if none can be clipped.

    Raises:
        ConfigError: If a frozen feature was switched on after the tile was built, or one of its numbers changed; if
            the devices have to be known, and are not.
        ShapeError: If ``AVERAGE_ABS_MAX`` is not given its running value.
    """
    masked = want_mask and has_range(io, "out_bound")
    torch_quirks = quirks and torch_tile
    if is_exact(io):
        y = product_of_lines(x, weights) if line_by_line else product(x, weights, transposed=transposed)
        if torch_quirks:
            return y, None
        y = y * single(io.out_scale)
        return y, _reference_mask(io, y) if masked and quirks else None
    holds = check_frozen(io, frozen)
    if x.shape[0] == 0:
        y = jnp.zeros((0, weights.shape[0]), jnp.float32)
        return y, jnp.zeros(y.shape, bool) if masked else None

    case = _Case(bound_managed, quirks and not torch_tile, torch_quirks, masked, transposed, line_by_line)
    operands = _Operands(io, frozen, weights, x, running, stream, columns)
    y, mask = with_derivative(partial(_readings, case), partial(_last_reading, case), operands)
    if isinstance(io, IOParametersIRDropT) and (bits := holds_bits(io)) is not None:
        holds = bits if holds is None else holds & bits
    # what a compiled program finds out cannot be an error, but a NaN is not overlooked
    return y if holds is None else jnp.where(holds, y, jnp.nan), mask


class _Case(NamedTuple):
    """What is known of a product before it is traced."""

    bound_managed: bool
    quirks: bool
    together: bool
    masked: bool
    transposed: bool
    line_by_line: bool

    @property
    def reads(self) -> dict[str, bool]:
        """How the weights lie and are read."""
        return {"transposed": self.transposed, "line_by_line": self.line_by_line}

    def repeats(self, io: IOParameters, adc: Converter) -> bool:
        """Whether there can be more than one round."""
        return self.bound_managed and io.bound_management is not BoundManagementType.NONE and adc.bound is not None

    def silent(self, io: IOParameters, scale: jax.Array | None) -> jax.Array | None:
        """Which vectors are not converted, ``(n, 1)``; ``None``: every one is."""
        mute = silent(io, scale, input_noise_counts=self.bound_managed)
        return mute if mute is None or not self.together else jnp.broadcast_to(jnp.all(mute), mute.shape)

    def failed(self, io: IOParameters, adc: Converter, codes: jax.Array) -> jax.Array:
        """Which vectors were clipped in a way that counts, ``(n, 1)``."""
        if self.together:
            return jnp.any(adc.exceeds(codes), axis=1, keepdims=True)
        return has_failed(io, adc, codes, self.quirks)


class _Operands(NamedTuple):
    """What a product can be differentiated with respect to, and its noise."""

    io: IOParameters
    frozen: FrozenIO
    weights: jax.Array
    x: jax.Array
    running: jax.Array | None
    stream: Stream
    columns: Columns | None


def _readings(case: _Case, operands: _Operands, recorded: bool) -> tuple[jax.Array, jax.Array | None, Reading | None]:
    """Return outputs, mask and, if asked for, which round of each vector counted."""
    io, frozen, weights, x, running, stream, columns = operands
    dac, adc, read = input_converter(io), output_converter(io), arrays(io, frozen, weights, columns)
    scale = input_scale(io, x, dac, adc, running)
    mute = case.silent(io, scale)
    managed = case.repeats(io, adc)

    def one_round(scale: jax.Array | None, factor: jax.Array | None, number: jax.Array | int, source: Stream) -> Round:
        gain = _gain(scale, factor)
        z = prepared(io, dac, x if gain is None else gain * x, source)
        codes, counts = converted(io, frozen, adc, read, z, source, **case.reads)
        clips = [counted(adc.clip(code), count) for code, count in zip(codes, counts, strict=True)]
        y = functools.reduce(jnp.add, clips)
        failed, clipped = jnp.zeros((x.shape[0], 1), bool), None
        for code in codes if managed else ():
            failed = failed | _audible(case.failed(io, adc, code), mute)
        if case.together:
            failed = jnp.broadcast_to(jnp.any(failed), failed.shape)
        if case.masked and not case.quirks:
            clipped = _audible(jnp.stack([adc.exceeds(code) for code in codes]).any(0), mute)
        reading = None
        if recorded:
            divisor = jnp.full_like(failed, 1.0 if factor is None else factor, jnp.float32)
            which = (jnp.full_like(failed, number, jnp.int32), divisor) if managed else (None, None)
            reading = Reading(which[0], which[1], tuple(adc.exceeds(code) for code in codes))
        return Round(_rescaled(io, y, gain, mute), failed, clipped, reading)

    result = one_round(scale, None, 0, stream)
    if managed:
        later = _later_scale(io, x, dac, adc, scale)

        def next_round(factor: jax.Array, number: jax.Array) -> Round:
            return one_round(later, factor, number, stream.child(number))

        result = repeat_clipped(io, dac, result, next_round, restart=_restarts(io))
    mask = _reference_mask(io, result.y) if case.masked and case.quirks else result.clipped
    return result.y, mask, result.reading


def _last_reading(case: _Case, operands: _Operands, reading: Reading) -> jax.Array:
    """Return the outputs once more, each vector as in the round that counted, differentiable."""
    io, _, _, x, running, stream, _ = operands
    dac, adc = input_converter(io).straight(), output_converter(io).straight()
    scale = input_scale(io, x, dac, adc, running)
    mute = case.silent(io, scale)
    if reading.number is not None and scale is not None:
        later = _later_scale(io, x, dac, adc, scale)
        assert later is not None
        scale = jnp.where(reading.number > 0, later, scale)
    fixed = None if scale is None else stop_gradient(scale)
    total = _read_again(case, operands, reading, fixed, dac, adc, replayed(stream, reading, mute))
    if scale is not None and scale_matters(io):
        # what rounding and noise are does not move with the scale: its derivative would be noise with mean 0
        quiet = replayed(stream, reading, jnp.ones_like(reading.outside[0][:, :1]))
        smooth = dac._replace(step=None), adc._replace(step=None)
        total = total + _read_again(case, jax.tree.map(stop_gradient, operands), reading, scale, *smooth, quiet)
    if mute is None:
        return total
    # zeros are read as what is next to them would be; a signal without a scale is not read at all
    return jnp.where(mute & jnp.any(x != 0, axis=1, keepdims=True), 0, total)


def _read_again(
    case: _Case,
    operands: _Operands,
    reading: Reading,
    scale: jax.Array | None,
    dac: Converter,
    adc: Converter,
    source: Draws,
) -> jax.Array:
    """Return the outputs of the round of each vector that counted; a clipped output does not move with its input."""
    io, frozen, weights, x, _, _, columns = operands
    gain = _gain(scale, reading.factor)
    z = prepared(io, dac, x if gain is None else gain * x, source)
    read = arrays(io, frozen, weights, columns)
    codes, counts = converted(io, frozen, adc, read, z, source, smooth=dac.step is None, **case.reads)
    total = jnp.zeros((), jnp.float32)
    for code, count, outside in zip(codes, counts, reading.outside, strict=True):
        held = None if gain is None else jnp.where(outside, stop_gradient(gain), gain)
        value = code if adc.bound is None else jnp.where(outside, jnp.sign(code) * adc.bound, code)
        total = total + _rescaled(io, counted(value, count), held, None)
    return total


def _restarts(io: IOParameters) -> bool:
    """Whether the second round has k = 1 again, with another input scale."""
    worst = io.bound_management is BoundManagementType.ITERATIVE_WORST_CASE
    return worst and io.noise_management is not NoiseManagementType.ABS_MAX_NP_SUM


def _later_scale(
    io: IOParameters, x: jax.Array, dac: Converter, adc: Converter, scale: jax.Array | None
) -> jax.Array | None:
    """Return the input scale of all rounds but the first."""
    return worst_case_scale(io, x, dac, adc) if _restarts(io) and scale is not None else scale


def _gain(scale: jax.Array | None, factor: jax.Array | None) -> jax.Array | None:
    """Return the factor on the input: 1/(α k), and 1/k for vectors without a scale."""
    if scale is None:
        return None if factor is None else 1 / factor
    gain = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1), 1)
    return gain if factor is None else gain / factor


def _rescaled(io: IOParameters, y: jax.Array, gain: jax.Array | None, mute: jax.Array | None) -> jax.Array:
    """Undo the input scale in digital; silent vectors become exact zeros."""
    factor = single(io.out_scale) if gain is None else single(io.out_scale) / gain
    return y * (factor if mute is None else jnp.where(mute, 0, factor))


def _audible(flags: jax.Array, mute: jax.Array | None) -> jax.Array:
    return flags if mute is None else flags & ~mute


def _reference_mask(io: IOParameters, y: jax.Array) -> jax.Array:
    """Return the reference's mask: rescaled outputs against the bound (spec: tile_ops, section 18, bug 3)."""
    bound = _MASK_MARGIN * single(io.out_scale) * single(io.out_bound)
    return (jnp.abs(y) >= bound) & (single(io.out_bound) > 0)
