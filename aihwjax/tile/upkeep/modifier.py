"""The weight modifier of hardware-aware training: noise on the weights that it reads (spec: tile_ops, section 10).

After each mini-batch a modified copy ``w*`` of the weights is drawn. Forward and backward products of
training read the copy until the next one, updates and evaluation act on the weights themselves. A
network trained so tolerates what programming a chip does to its weights.

Symbols: ``w`` weights, ``M`` their largest magnitude, ``σ`` = ``std_dev``, ``ξ`` a fresh standard normal for
each weight, ``Q`` rounding.
"""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.config import Config, configclass, not_positive, number, numbers, zero
from aihwjax.errors import ConfigError
from aihwjax.random import Stream
from aihwjax.tile.product.converters import single
from aihwjax.tile.upkeep.pcm_modifier import PCMNoise, pcm_noise
from aihwjax.typing import Number


class WeightModifierType(enum.Enum):
    """What the modifier does to the weights."""

    NONE = "None"
    """No copy is made."""
    COPY = "Copy"
    """``w* = w``; useful with ``pdrop``."""
    DISCRETIZE = "Discretize"
    """``w* = M Q(w / M)``."""
    MULT_NORMAL = "MultNormal"
    """``w* = w (1 + σ M ξ)``; on the torch tile without ``M``."""
    ADD_NORMAL = "AddNormal"
    """``w* = w + σ M ξ``."""
    DISCRETIZE_ADD_NORMAL = "DiscretizeAddNormal"
    """``w* = M Q(w / M) + σ M ξ``."""
    DOREFA = "DoReFa"
    """``w* = Q(tanh(w) |dorefa_clip / tanh(M)|)``."""
    POLY = "Poly"
    """``w* = w + M σ p(|w| / M) ξ`` with the polynomial ``p`` of ``coeffs``."""
    PCM_NOISE = "PCMNoise"
    """Programming noise, drift variability, read noise and faults of phase-change memory."""
    PROG_NOISE = "ProgNoise"
    """Like ``POLY`` with ``σ / g_max``, and a weight keeps its sign."""
    DROP_CONNECT = "DropConnect"
    """``w* = w``; ``pdrop`` of the weights are zero."""


_DISCRETE = (WeightModifierType.DISCRETIZE, WeightModifierType.DISCRETIZE_ADD_NORMAL, WeightModifierType.DOREFA)
_NORMAL = (
    WeightModifierType.MULT_NORMAL,
    WeightModifierType.ADD_NORMAL,
    WeightModifierType.DISCRETIZE_ADD_NORMAL,
    WeightModifierType.POLY,
    WeightModifierType.PROG_NOISE,
)
_POLYNOMIAL = (WeightModifierType.POLY, WeightModifierType.PROG_NOISE)


@configclass
class WeightModifierParameter(Config):
    """How the weights that training reads differ from the weights that are trained.

    When to use: ``ADD_NORMAL`` with a ``std_dev`` near 0.1 for networks that will be programmed onto a
    chip; ``PCM_NOISE`` to train for phase-change memory in particular; ``DISCRETIZE`` for few levels.
    """

    type: WeightModifierType = WeightModifierType.NONE
    """What is done to the weights."""
    std_dev: Number = number(0.0, minimum=0, off=zero)
    """Strength σ of the noise; the type says of what."""
    res: Number = number(0.0, off=not_positive)
    """Resolution as a fraction of the full range from -1 to 1, in units of M, or above 1 the number of steps."""
    sto_round: bool = False
    """Stochastic rounding."""
    dorefa_clip: Number = number(0.6)
    """Largest magnitude after ``DOREFA``."""
    pdrop: Number = number(0.0, minimum=0, maximum=1, off=zero)
    """Probability that a weight reads as zero, with any type but ``NONE``."""
    enable_during_test: bool = False
    """Evaluate with the last modified copy as well."""
    rel_to_actual_wmax: bool = True
    """Whether M is the largest magnitude of the weights (1 if all are zero), else ``assumed_wmax``."""
    assumed_wmax: Number = number(1.0, above=0)
    """M if it is not measured, in weight units."""
    copy_last_column: bool = False
    """Leave the last column as it is and out of M, for an analog bias; acts on any last column."""
    coeffs: tuple[Number, ...] = numbers((0.0105392, 0.0768, -0.046925))
    """Coefficients of the polynomial, from the constant on."""
    g_max: Number = number(25.0, above=0)
    """Largest conductance, in microsiemens."""
    per_batch_sample: bool = False
    """A copy for each vector of a batch; not offered, because one copy of the weights serves a mini-batch."""
    pcm_zero_thres: Number = number(0.0, minimum=0, off=zero)
    """Conductances below this many standard deviations of the programming noise at zero stay at zero."""
    pcm_t_inference: Number = number(0.0, minimum=0, off=zero)
    """Time from the reference time to the inference that is trained for, in seconds."""
    pcm_prob_at_reset: Number = number(0.0, minimum=0, maximum=1, off=zero)
    """Probability of a device that is stuck at zero."""
    pcm_prob_at_gmax: Number = number(0.0, minimum=0, maximum=1, off=zero)
    """Probability of a device that is stuck at the largest conductance."""
    pcm_prob_at_random: Number = number(0.0, minimum=0, maximum=1, off=zero)
    """Probability of a device that is stuck at a random conductance."""
    pcm_t0: Number = number(20.0, above=0)
    """Reference time after programming, in seconds."""

    def validate(self) -> None:
        """Refuse a copy for each vector."""
        if self.per_batch_sample:
            raise ConfigError(
                "WeightModifierParameter.per_batch_sample=True is not allowed: one copy of the weights serves a "
                "whole mini-batch, give False"
            )

    def acts(self) -> bool:
        """Whether there is a modified copy at all; what is off by a plain number costs nothing."""
        if self.type is WeightModifierType.NONE:
            return False
        noisy = self.type in _NORMAL and self.present("std_dev") and (self.type not in _POLYNOMIAL or bool(self.coeffs))
        coarse = self.type in _DISCRETE and self.present("res")
        return self.present("pdrop") or noisy or coarse or self.type is WeightModifierType.PCM_NOISE


def modified(
    parameter: WeightModifierParameter,
    weights: jax.Array,
    stream: Stream,
    *,
    torch_tile: bool = False,
    quirks: bool = False,
) -> jax.Array:
    """Return a modified copy of the weights.

    Args:
        parameter: What to do.
        weights: The weights ``(out, in)``.
        stream: Source of the noise.
        torch_tile: Follow the reference's torch tile where the tiles differ (``MULT_NORMAL``, resolution).
        quirks: Take ``res`` as the reference's tiles do: as the step itself on all but the torch tile.
    """
    result = _changed(parameter, weights, stream, torch_tile, quirks)
    if parameter.present("pdrop"):
        kept = stream.child("pdrop").uniform(weights.shape) >= single(parameter.pdrop)
        result = jnp.where(kept, result, 0.0)
    if parameter.copy_last_column:
        last = lax.broadcasted_iota(jnp.int32, weights.shape, 1) == weights.shape[1] - 1
        result = jnp.where(last, weights, result)
    return result


def largest(parameter: WeightModifierParameter, weights: jax.Array) -> jax.Array:
    """Return M: the largest magnitude of the weights, or what is assumed of it.

    Args:
        parameter: Which of the two.
        weights: The weights ``(out, in)``.
    """
    if not parameter.rel_to_actual_wmax:
        return single(parameter.assumed_wmax)
    measured = weights[:, :-1] if parameter.copy_last_column else weights
    top = jnp.max(jnp.abs(measured), initial=0.0)
    return jnp.where(top > 0, top, 1.0)


def _changed(
    parameter: WeightModifierParameter, weights: jax.Array, stream: Stream, torch_tile: bool, quirks: bool
) -> jax.Array:
    kind, w = parameter.type, weights
    if kind in (WeightModifierType.NONE, WeightModifierType.COPY, WeightModifierType.DROP_CONNECT):
        return w
    top = largest(parameter, w)
    if kind is WeightModifierType.PCM_NOISE:
        return pcm_noise(_pcm(parameter), w, top, stream.child("pcm_noise"))
    result = w
    if kind in _DISCRETE and parameter.present("res"):
        step = _step(parameter, torch_tile, quirks)
        if kind is WeightModifierType.DOREFA:
            scale = jnp.abs(single(parameter.dorefa_clip) / jnp.tanh(top))
            rounded = _rounded(parameter, jnp.tanh(w) * scale, step, stream)
        else:
            rounded = top * _rounded(parameter, w / top, step, stream)
        result = jnp.where(step > 0, rounded, w)
    if kind not in _NORMAL or not parameter.present("std_dev"):
        return result
    sigma, noise = single(parameter.std_dev), stream.child("std_dev").normal(w.shape)
    if kind is WeightModifierType.MULT_NORMAL:
        # the torch tile leaves M out (spec: tile_ops, section 10 and trap 4)
        return w * (1 + (sigma if torch_tile else sigma * top) * noise)
    if kind not in _POLYNOMIAL:
        return result + sigma * top * noise
    spread = sigma * top * _polynomial(parameter, jnp.abs(w) / top)
    if kind is WeightModifierType.POLY:
        return w + spread * noise
    moved = jnp.abs(w + spread / single(parameter.g_max) * noise)
    return jnp.where(w < 0, -moved, moved)


def _step(parameter: WeightModifierParameter, torch_tile: bool, quirks: bool) -> jax.Array:
    """Return the step of the grid in units of M (spec: tile_ops, section 18, bug 10)."""
    res = single(parameter.res)
    if quirks and not torch_tile:
        return res
    return 2 * jnp.where(res > 1, 1 / jnp.where(res > 1, res, 1.0), res)


def _rounded(parameter: WeightModifierParameter, v: jax.Array, step: jax.Array, stream: Stream) -> jax.Array:
    """Return the nearest multiple of the step, halves away from zero, or one of the two by chance."""
    places = v / jnp.where(step > 0, step, 1.0)
    if parameter.sto_round:
        places = places + (stream.child("sto_round").uniform(v.shape) - 0.5)
    return lax.round(places, lax.RoundingMethod.AWAY_FROM_ZERO) * step


def _polynomial(parameter: WeightModifierParameter, z: jax.Array) -> jax.Array:
    value = jnp.zeros_like(z)
    for coefficient in reversed(parameter.coeffs):
        value = value * z + single(coefficient)
    return value


def _pcm(parameter: WeightModifierParameter) -> PCMNoise:
    def rate(name: str) -> jax.Array | None:
        return single(getattr(parameter, name)) if parameter.present(name) else None

    return PCMNoise(
        scale=single(parameter.std_dev) if parameter.present("std_dev") else None,
        g_max=single(parameter.g_max),
        zero_thres=rate("pcm_zero_thres"),
        prob_at_reset=rate("pcm_prob_at_reset"),
        prob_at_gmax=rate("pcm_prob_at_gmax"),
        prob_at_random=rate("pcm_prob_at_random"),
        t_inference=rate("pcm_t_inference"),
        t0=single(parameter.pcm_t0),
    )
