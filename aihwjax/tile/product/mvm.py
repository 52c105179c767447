"""The analog matrix-vector product of one direction of a tile (spec: forward, sections 3 to 9).

For each input vector by itself::

    α = noise management(x)                    input_scale.py
    for k = 1, 2, 4, …                         bound_management.py
        z = DAC(x / (α k)) + noise             converters.py
        y = ADC(array(z) + noise)              array.py
        until no output was clipped
    y ← y · out_scale · α k

The first round is a matrix product with fused element-wise work around it. Further rounds run in a
loop that is entered only if some vector of the batch was clipped.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from aihwjax.products import product
from aihwjax.random import Stream
from aihwjax.tile.product.array import array_output
from aihwjax.tile.product.bound_management import Round, has_failed, repeat_clipped
from aihwjax.tile.product.converters import Converter, has_range, input_converter, output_converter, single
from aihwjax.tile.product.frozen import (
    calibrates_slope,
    check_frozen,
    freeze,
    is_exact,
    reads_asymmetrically,
    spreads_noise,
)
from aihwjax.tile.product.input_scale import advance_running, input_scale, silent, worst_case_scale
from aihwjax.tile.product.io import AnalogMVType, BoundManagementType, IOParameters, NoiseManagementType
from aihwjax.tile.state import FrozenIO

__all__ = ["advance_running", "analog_product", "freeze"]

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
    want_mask: bool = False,
    transposed: bool = False,
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
        want_mask: Whether to return which outputs are clipped.
        transposed: Whether ``weights`` is the transpose of an array in memory, as in the backward product.

    Returns:
        Outputs ``(n, out)``, and a mask ``(n, out)`` of the outputs whose gradient is not passed
        back: those that the ADC clipped. ``None`` if not asked for or if none can be clipped.

    Raises:
        ConfigError: If a frozen feature was switched on after the tile was built, or one of its numbers changed.
        ShapeError: If ``AVERAGE_ABS_MAX`` is not given its running value.
    """
    masked = want_mask and has_range(io, "out_bound")
    if is_exact(io):
        y = product(x, weights, transposed=transposed) * single(io.out_scale)
        return y, _reference_mask(io, y) if masked and quirks else None
    holds = check_frozen(io, frozen)
    if x.shape[0] == 0:
        y = jnp.zeros((0, weights.shape[0]), jnp.float32)
        return y, jnp.zeros(y.shape, bool) if masked else None

    dac, adc = input_converter(io), output_converter(io)
    scale = input_scale(io, x, dac, adc, running)
    mute = silent(io, scale, input_noise_counts=bound_managed)
    managed = bound_managed and io.bound_management is not BoundManagementType.NONE and adc.bound is not None

    def one_round(scale: jax.Array | None, factor: jax.Array | None, source: Stream) -> Round:
        gain = _gain(scale, factor)
        z = _prepared(io, dac, x if gain is None else gain * x, source)
        y, codes = _converted(io, frozen, adc, weights, z, source, transposed)
        failed, clipped = jnp.zeros((x.shape[0], 1), bool), None
        for code in codes if managed else ():
            failed = failed | _audible(has_failed(io, adc, code, quirks), mute)
        if masked and not quirks:
            clipped = _audible(jnp.stack([adc.exceeds(code) for code in codes]).any(0), mute)
        return Round(_rescaled(io, y, gain, mute), failed, clipped)

    result = one_round(scale, None, stream)
    if managed:
        restart = (
            io.bound_management is BoundManagementType.ITERATIVE_WORST_CASE
            and io.noise_management is not NoiseManagementType.ABS_MAX_NP_SUM
        )
        later = worst_case_scale(io, x, dac, adc) if restart and scale is not None else scale

        def next_round(factor: jax.Array, source: Stream) -> Round:
            return one_round(later, factor, source)

        result = repeat_clipped(io, dac, result, next_round, stream, restart=restart)
    # what a compiled program finds out cannot be an error, but a NaN is not overlooked
    y = result.y if holds is None else jnp.where(holds, result.y, jnp.nan)
    return y, _reference_mask(io, y) if masked and quirks else result.clipped


def _gain(scale: jax.Array | None, factor: jax.Array | None) -> jax.Array | None:
    """Return the factor on the input: 1/(α k), and 1/k for vectors without a scale."""
    if scale is None:
        return None if factor is None else 1 / factor
    gain = jnp.where(scale > 0, 1 / jnp.where(scale > 0, scale, 1), 1)
    return gain if factor is None else gain / factor


def _prepared(io: IOParameters, dac: Converter, v: jax.Array, source: Stream) -> jax.Array:
    """Return what the lines carry (section 6): DAC, clip, noise (which may exceed the bound), asymmetry."""
    v = dac.clip(dac.quantise(v, source))
    if io.present("inp_noise"):
        v = v + single(io.inp_noise) * source.child("inp_noise").normal(v.shape)
    if io.present("inp_asymmetry"):
        v = jnp.where(v < 0, v * (1 - single(io.inp_asymmetry)), v)
    return v


def _converted(
    io: IOParameters,
    frozen: FrozenIO,
    adc: Converter,
    weights: jax.Array,
    z: jax.Array,
    source: Stream,
    transposed: bool,
) -> tuple[jax.Array, list[jax.Array]]:
    """Return the converter's outputs, and the codes of each conversion before the clip (section 7.4)."""
    if io.mv_type is AnalogMVType.ONE_PASS:
        codes = [_codes(io, frozen, adc, array_output(io, frozen, weights, z, source, transposed), source)]
        return adc.clip(codes[0]), codes
    negative_weights = weights
    if reads_asymmetrically(io):
        assert frozen.w_asymmetry is not None
        negative_weights = weights * frozen.w_asymmetry
    minus, plus = source.child("negative_pass"), source.child("positive_pass")
    negative = array_output(io, frozen, negative_weights, jnp.minimum(z, 0), minus, transposed)
    positive = array_output(io, frozen, weights, jnp.maximum(z, 0), plus, transposed)
    if io.mv_type is AnalogMVType.POS_NEG_SEPARATE:
        codes = [_codes(io, frozen, adc, negative + positive, source)]
        return adc.clip(codes[0]), codes
    codes = [_codes(io, frozen, adc, negative, minus), _codes(io, frozen, adc, positive, plus)]
    return adc.clip(codes[0]) + adc.clip(codes[1]), codes


def _codes(io: IOParameters, frozen: FrozenIO, adc: Converter, v: jax.Array, source: Stream) -> jax.Array:
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
