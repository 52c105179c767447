"""Noise management: the scale that brings an input vector into the range of the DAC (spec: forward, section 4).

Every decision is taken for each vector by itself. The scale ``α`` is::

    ABS_MAX           max|x|, at most nm_thres
    MAX               max x (signed), at most nm_thres
    CONSTANT          nm_thres, or 1
    AVERAGE_ABS_MAX   a ← 0.999 a + 0.001 max|x|, vector by vector in order
    ABS_MAX_NP_SUM    max(m, p),  m = max|x|,  p = 0.6 S / out_bound limited to m · max_bm_res / q_inp,
                      S the larger of the summed positive and the summed negative inputs
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aihwjax.errors import ShapeError
from aihwjax.tile.product.converters import Converter, single
from aihwjax.tile.product.io import IOParameters, NoiseManagementType

_DECAY = 0.999
_ASSUMED_LARGEST_WEIGHT = 0.6


def input_scale(
    io: IOParameters, x: jax.Array, dac: Converter, adc: Converter, running: jax.Array | None
) -> jax.Array | None:
    """Return the scale of each vector, ``None`` without noise management.

    Args:
        io: Parameters of this direction.
        x: Input vectors ``(n, in)``.
        dac: Input converter.
        adc: Output converter.
        running: Running value before this batch, below 0 while unset; ``AVERAGE_ABS_MAX`` only.

    Returns:
        ``(n, 1)``; where it is not positive the vector has no scale.

    Raises:
        ShapeError: If ``AVERAGE_ABS_MAX`` is not given its running value.
    """
    match io.noise_management:
        case NoiseManagementType.NONE:
            return None
        case NoiseManagementType.ABS_MAX:
            return _thresholded(io, _abs_max(x))
        case NoiseManagementType.MAX:
            return _thresholded(io, jnp.max(x, axis=1, keepdims=True))
        case NoiseManagementType.CONSTANT:
            return jnp.broadcast_to(_constant(io), (x.shape[0], 1))
        case NoiseManagementType.ABS_MAX_NP_SUM:
            return worst_case_scale(io, x, dac, adc)
        case NoiseManagementType.AVERAGE_ABS_MAX:
            if running is None:
                raise ShapeError("running=None is not allowed with noise_management=AVERAGE_ABS_MAX: give a number")
            return _running_scales(single(running), _abs_max(x))


def worst_case_scale(io: IOParameters, x: jax.Array, dac: Converter, adc: Converter) -> jax.Array:
    """Return the scale ``ABS_MAX_NP_SUM`` ``(n, 1)``: no sum of weights up to 0.6 exceeds the output range."""
    largest = _thresholded(io, _abs_max(x))
    positive = jnp.sum(jnp.maximum(x, 0), axis=1, keepdims=True)
    negative = jnp.sum(jnp.minimum(x, 0), axis=1, keepdims=True)
    product = jnp.maximum(positive, -negative) * _ASSUMED_LARGEST_WEIGHT
    if adc.bound is not None:
        product = product / jnp.where(jnp.isfinite(adc.bound), adc.bound, 1)
    if dac.step is not None:
        # without any input there is no sum either, whatever the limit
        limit = jnp.where(largest > 0, largest * (single(io.max_bm_res) / dac.step), 0)
        product = jnp.where(dac.step > 0, jnp.minimum(product, limit), product)
    return jnp.maximum(largest, product)


def scale_matters(io: IOParameters) -> bool:
    """Whether a product without rounding and noise depends on its input scale.

    It does not if the scale lets the DAC clip nothing and everything behind it is linear in the size of its input.

    Args:
        io: Parameters of this direction.
    """
    fits = io.noise_management in (NoiseManagementType.ABS_MAX, NoiseManagementType.ABS_MAX_NP_SUM)
    limited = not fits or io.present("nm_thres")
    return limited or any(io.present(name) for name in ("ir_drop", "r_series", "out_nonlinearity"))


def silent(io: IOParameters, scale: jax.Array | None, *, input_noise_counts: bool) -> jax.Array | None:
    """Return which vectors ``(n, 1)`` give exact zeros, ``None`` if none can.

    A vector without a scale is not converted at all: no noise, no ADC.

    Args:
        io: Parameters of this direction.
        scale: Scale of each vector.
        input_noise_counts: Whether a vector without a scale is converted nevertheless if there is
            input noise (forward yes, backward no).
    """
    if scale is None or io.noise_management is NoiseManagementType.CONSTANT:
        return None
    without = scale <= 0
    if input_noise_counts and io.present("inp_noise"):
        return without & (single(io.inp_noise) <= 0)
    return without


def advance_running(running: jax.Array, x: jax.Array) -> jax.Array:
    """Return the running value of ``AVERAGE_ABS_MAX`` after the vectors ``x``, in order.

    Args:
        running: Value before, one number, below 0 while unset: the first vector sets it.
        x: Input vectors ``(n, in)``.
    """
    running = single(running)
    count = x.shape[0]
    if count == 0:
        return running
    largest = jnp.max(jnp.abs(x), axis=1)
    start = jnp.where(running < 0, largest[0], running)
    weights = (1 - _DECAY) * _DECAY ** np.arange(count - 1, -1, -1.0)
    return start * np.float32(_DECAY**count) + jnp.sum(largest * weights.astype(np.float32))


def _running_scales(running: jax.Array, largest: jax.Array) -> jax.Array:
    """Return the running value as each vector sees it, itself included: a linear recurrence."""
    start = jnp.where(running < 0, largest[0, 0], running)
    gains = jnp.full_like(largest, _DECAY)

    def combine(first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] * second[0], first[1] * second[0] + second[1]

    gains, offsets = lax.associative_scan(combine, (gains, (1 - _DECAY) * largest))
    return gains * start + offsets


def _abs_max(x: jax.Array) -> jax.Array:
    return jnp.max(jnp.abs(x), axis=1, keepdims=True)


def _thresholded(io: IOParameters, largest: jax.Array) -> jax.Array:
    if not io.present("nm_thres"):
        return largest
    limit = single(io.nm_thres)
    return jnp.where(limit > 0, jnp.minimum(largest, limit), largest)


def _constant(io: IOParameters) -> jax.Array:
    if not io.present("nm_thres"):
        return single(1.0)
    return jnp.where(single(io.nm_thres) > 0, single(io.nm_thres), 1)
