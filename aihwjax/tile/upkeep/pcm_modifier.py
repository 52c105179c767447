"""The weight modifier for phase-change memory: what programming, time and faults do (spec: tile_ops, section 10).

The reference has this noise on graphics processors only; the formulas are the same everywhere here.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from aihwjax.random import Stream

_PROGRAMMING = (0.26348, 1.9650, -1.1731)
"""Spread of the programming noise in microsiemens, as a polynomial of the relative conductance."""
_READ_TIME = 250e-9
"""Duration of a read, in seconds."""


class PCMNoise(NamedTuple):
    """Numbers of the modifier; ``None`` where a feature is off. Conductances in microsiemens, times in seconds."""

    scale: jax.Array | None
    """Factor σ on programming and read noise."""
    g_max: jax.Array
    """Largest conductance G."""
    zero_thres: jax.Array | None
    """Threshold in standard deviations of the programming noise at zero."""
    prob_at_reset: jax.Array | None
    """Probability of a device stuck at zero."""
    prob_at_gmax: jax.Array | None
    """Probability of a device stuck at the largest conductance."""
    prob_at_random: jax.Array | None
    """Probability of a device stuck at a random conductance."""
    t_inference: jax.Array | None
    """Time after the reference time."""
    t0: jax.Array
    """Reference time after programming."""


def pcm_noise(parameter: PCMNoise, weights: jax.Array, largest: jax.Array, stream: Stream) -> jax.Array:
    """Return the weights as a chip of phase-change memory would hold them, without the mean drift.

    ::

        h  = target conductance, zero below the threshold, with stuck devices
        h1 = h + σ (p0 + p1 z + p2 z²) ξ,                        z = |h| / G
        h2 = h1 (t / t0)^(-|ξ| clip(-0.0125 ln z1 - 0.0059, 0.008, 0.045)),    z1 = |h1| / G
        h3 = h2 + σ |h2| min(0.0088 / max(z1^0.65, 1e-3), 0.2) sqrt(ln((t + tr) / 2 tr)) ξ
        w* = sign(target) |h3| M / G

    A conductance of exactly zero is not programmed and stays zero; the sign is that of the target before
    faults, plus for zero.

    Args:
        parameter: The numbers.
        weights: Target weights ``(out, in)``.
        largest: M, the weight at the largest conductance.
        stream: Source of the noise.
    """
    top, shape = parameter.g_max, weights.shape
    target = jnp.clip(weights, -largest, largest) * (top / largest)
    if parameter.zero_thres is not None and parameter.scale is not None:
        target = jnp.where(jnp.abs(target) > parameter.zero_thres * parameter.scale * _PROGRAMMING[0], target, 0.0)
    h = _with_faults(parameter, target, stream)
    z = jnp.abs(h) / top
    programmed = h
    if parameter.scale is not None:
        spread = _PROGRAMMING[0] + z * (_PROGRAMMING[1] + z * _PROGRAMMING[2])
        programmed = h + parameter.scale * spread * stream.child("programming").normal(shape)
    z = jnp.abs(programmed) / top
    time, drifted = parameter.t0, programmed
    if parameter.t_inference is not None:
        time = time + parameter.t_inference
        typical = jnp.clip(-0.0125 * jnp.log(jnp.maximum(z, 1e-6)) - 0.0059, 0.008, 0.045)
        exponent = jnp.abs(stream.child("drift").normal(shape)) * typical
        drifted = programmed * jnp.exp(-exponent * jnp.log(time / parameter.t0))
    read = drifted
    if parameter.scale is not None:
        level = jnp.minimum(0.0088 / jnp.maximum(z**0.65, 1e-3), 0.2)
        duration = jnp.sqrt(jnp.log((time + _READ_TIME) / (2 * _READ_TIME)))
        read = drifted + parameter.scale * jnp.abs(drifted) * level * duration * stream.child("read").normal(shape)
    result = jnp.abs(read) * (largest / top)
    return jnp.where(h == 0, 0.0, jnp.where(target < 0, -result, result))


def _with_faults(parameter: PCMNoise, target: jax.Array, stream: Stream) -> jax.Array:
    top, shape, h = parameter.g_max, target.shape, target
    if parameter.prob_at_reset is not None:
        h = jnp.where(stream.child("at_reset").uniform(shape) < parameter.prob_at_reset, 0.0, h)
    if parameter.prob_at_gmax is not None:
        below = stream.child("which_device").uniform(shape) < 0.5
        stuck = stream.child("at_gmax").uniform(shape) < parameter.prob_at_gmax
        h = jnp.where(stuck, h + jnp.where(below, -top, top), h)
    if parameter.prob_at_random is not None:
        level = stream.child("random_level").uniform(shape) * top
        stuck = stream.child("at_random").uniform(shape) < parameter.prob_at_random
        h = jnp.where(stuck, jnp.where(h > 0, level, -level), h)
    return jnp.clip(h, -top, top)
