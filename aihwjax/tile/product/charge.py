"""One pass of an array that is read with pulses: the charge of each column, and read noise (spec: forward, 11.3, 11.5).

With ``h`` the input codes, ``ΔG_k`` the difference of the k-th pair of devices, ``a`` what passes the wires, κ the
conductance of a weight of 1, ``q`` the step of the DAC and ``n`` the longest pulse in time slots::

    Q_k = 0.2 V · Σ_j h_j a_kj ΔG_kj + (n + 1) · I_rest,k        counted in whole quanta, towards zero
    y   = Σ_k f_k Q_k · q / (0.2 V · κ)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aihwjax.derivatives import passed_through, root
from aihwjax.products import product
from aihwjax.random import Draws
from aihwjax.tile.product.bits import Pass, code_size
from aihwjax.tile.product.converters import single, step_size
from aihwjax.tile.product.io import BIT_TYPES, AnalogMVType
from aihwjax.tile.product.io_timed import IOParametersIRDropT
from aihwjax.tile.product.wires import SWING, Lines

_REFERENCE_CURRENT = 100.0
"""µA at which the frequency of the oscillator is given."""
_SHORT = 1e-3
"""Part of a time slot that single precision leaves open."""
_SLOPE = (0.02578764, -0.0146159, 0.00655714, -0.00187352, 0.00021926)
_OFFSET = (0.117763144, -0.0677079241, 0.0307015063, -0.00908576764, 0.00111906167)
"""Read noise in µS over log10 of the mean pulse length: part that grows with the conductance, and that at none."""


class ChargeReading(NamedTuple):
    """How a pass is read."""

    each: Pass
    """The pass."""
    quirks: bool
    """Integrate over sampled times as the reference does."""
    exact: bool
    """Count charge without rounding it."""


def charge(
    io: IOParametersIRDropT, lines: Lines, weights: jax.Array, reading: ChargeReading, source: Draws
) -> jax.Array:
    """Return the outputs ``(n, out)`` of a pass.

    Args:
        io: Parameters of the product.
        lines: The devices.
        weights: Weights ``(out, in)``, of which the product is where no wire acts.
        reading: The pass, and how it is read.
        source: Its noise.
    """
    z = reading.each.z
    if lines.passed is None or lines.resting is None:
        return product(z, weights) + _noise(io, lines, z, source)
    size, slots = code_size(io), reading.each.longest + 1
    if reading.quirks:
        z, size, slots = _sampled(io, reading.each)
    out_size = weights.shape[0]
    seen = (lines.pairs * lines.passed / lines.scale).reshape(-1, weights.shape[1])
    pulses = product(z, seen).reshape(z.shape[0], -1, out_size)
    unit = SWING * lines.scale / size  # charge of an output of 1, in µA slots
    collected = pulses * unit + slots * lines.resting
    if io.adc_quantization and not reading.exact:
        quantum = _REFERENCE_CURRENT / single(io.adc_frequency)
        collected = passed_through(collected, jnp.trunc(collected / quantum) * quantum)
    y = jnp.sum(lines.factors[:, None] * collected, axis=1) / unit
    return y + _noise(io, lines, reading.each.z, source)


def _noise(io: IOParametersIRDropT, lines: Lines, z: jax.Array, source: Draws) -> jax.Array:
    """Return the read noise that depends on the length of pulses, referred to the output.

    Each device has the spread ``slope |ΔG| + offset``, none where its pair is balanced. Each vector has noise of its
    own, of a size that belongs to its own mean pulse length.
    """
    if not (io.apply_xdep_pcm_read_noise and io.present("xdep_pcm_read_noise_scale")):
        return jnp.zeros((), jnp.float32)
    mean = jnp.mean(jnp.abs(z), axis=1, keepdims=True) / code_size(io)
    length = jnp.log10(jnp.where(mean > 0, mean, 1))
    slope, offset = _polynomial(_SLOPE, length), _polynomial(_OFFSET, length)
    counts = lines.factors[:, None, None] if lines.passed is None else lines.factors[:, None, None] * lines.passed
    g = jnp.abs(lines.pairs)
    counts = jnp.where(g > 0, (counts / lines.scale) ** 2, 0)
    # the square of slope g + offset, multiplied out: the one belongs to vectors, the other to devices
    squares = z * z
    by_power = [product(squares, jnp.sum(counts * g**power, axis=0)) for power in range(3)]
    variance = offset**2 * by_power[0] + 2 * slope * offset * by_power[1] + slope**2 * by_power[2]
    spread = jnp.maximum(single(io.xdep_pcm_read_noise_scale), 0) * root(jnp.maximum(variance, 0))
    return spread * source.child("xdep_pcm_read_noise").normal(spread.shape)


def _polynomial(coefficients: Sequence[float], at: jax.Array) -> jax.Array:
    value = jnp.zeros_like(at)
    for coefficient in reversed(coefficients):
        value = value * at + coefficient
    return value


def _sampled(io: IOParametersIRDropT, each: Pass) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return inputs, their step and the number of time slots as the reference's integration over time sees them.

    It samples the current at ``steps`` times from 0 to the end of the longest pulse, both included, and adds up
    trapezoids with the first sample in front once more, which count half a step too much for each input; it does not
    divide by the number of steps in a slot (spec: forward, section 16, bug 9).
    """
    size = step_size(1.0, io.inp_res)
    bound = single(io.inp_bound)
    last = size * each.longest
    steps = each.longest + 1 if io.mv_type in BIT_TYPES else bound / size + 1
    if io.mv_type is not AnalogMVType.BIT_WISE:
        steps = jnp.floor(steps * single(io.ir_drop_time_step_resolution_scale) + _SHORT)
    length = jnp.abs(each.z)
    on = jnp.clip(jnp.ceil(length / last * (steps - 1) - _SHORT), 1, steps)
    if not io.ir_drop_integration_sum:
        to_the_end = (steps < 2) | (length > last * (1 + _SHORT))
        on = on + 0.5 - 0.5 * to_the_end
    size = size / bound
    sampled = jnp.sign(each.z) * on * size
    return passed_through(each.z, sampled), size, steps
