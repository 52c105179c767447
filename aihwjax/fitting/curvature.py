"""How sharply readings tell the numbers of a fit, in the form in which steps of a search are cheap.

A reading depends on the numbers of its own device and on those that all share. So their Fisher information is an arrow:
a small block for each device, one for what is shared, and what is between. It costs as many derivatives as one device
has numbers, however many devices there are, and a linear system with it one small system for each device.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import log_ndtr

from aihwjax.devices.base import PulsedDevice
from aihwjax.fitting.likelihood import DRAW, PRIOR, REST, Data, forecasts
from aihwjax.fitting.unknowns import Layout, Unknowns

_EACH = ("up", "down", "top", "bottom")
# The first of them, of which no mean matters
_STEPS = 2


class Numbers(NamedTuple):
    """The numbers of a fit by whom they belong to; also a slope by them, or a step."""

    own: jax.Array
    """Of each device, ``(devices, each)``."""
    shared: jax.Array
    """Of all, ``(shared,)``."""


class Curvature(NamedTuple):
    """Fisher information of all readings on the numbers.

    A device also depends on means over all devices, of their bounds and draws, which are shared numbers of their own,
    after the others: what each is made of is a condition, ``parts``.
    """

    own: jax.Array
    """Of each device, ``(devices, each, each)``."""
    between: jax.Array
    """Of each device with what all share, ``(devices, each, shared + means)``."""
    shared: jax.Array
    """``(shared + means, shared + means)``."""
    parts: jax.Array
    """By how much a number of a device moves its mean, ``(devices, means)``."""


def numbers_of(unknowns: Unknowns, layout: Layout) -> Numbers:
    """Return numbers by whom they belong to.

    Args:
        unknowns: The numbers.
        layout: Which are searched.
    """
    own = [*(unknowns[name] for name in _EACH), *(unknowns["draws"][name] for name in layout.draws)]
    shared = [*(jnp.ravel(unknowns["shape"][name]) for name in layout.shape), jnp.ravel(unknowns["noise"])]
    return Numbers(jnp.stack(own, axis=-1), jnp.concatenate(shared))


def unknowns_of(numbers: Numbers, layout: Layout, like: Unknowns) -> Unknowns:
    """Return numbers by name.

    Args:
        numbers: The numbers.
        layout: Which are searched.
        like: Has the shapes.
    """
    columns = [numbers.own[:, place] for place in range(numbers.own.shape[1])]
    shape, at = {}, 0
    for name in layout.shape:
        size = like["shape"][name].size
        shape[name] = numbers.shared[at : at + size].reshape(like["shape"][name].shape)
        at += size
    draws = dict(zip(layout.draws, columns[len(_EACH) :], strict=True))
    return {**dict(zip(_EACH, columns, strict=False)), "draws": draws, "shape": shape, "noise": numbers.shared[at]}


def curvature(
    numbers: Numbers, like: Unknowns, device: PulsedDevice, layout: Layout, data: Data, longest: int, noisy: bool
) -> Curvature:
    """Return the information of all readings.

    Args:
        numbers: The numbers.
        like: Has their shapes.
        device: The model.
        layout: Which of its numbers are searched.
        data: The measurement.
        longest: Most pulses between two readings.
        noisy: Whether readings have noise.
    """
    (devices, each), count, dtype = numbers.own.shape, numbers.shared.size, numbers.own.dtype
    # all devices move at once, and a mean with them: against their neighbours and together, which tells both apart
    signs = jnp.where(jnp.arange(devices) % 2 == 0, 1.0, -1.0).astype(dtype)
    apart = jnp.eye(each, dtype=dtype)[:, None, :] * signs[:, None]
    together = jnp.broadcast_to(jnp.eye(each, dtype=dtype)[_STEPS:, None], (each - _STEPS, devices, each))
    own = jnp.concatenate([apart, jnp.zeros((count, devices, each), dtype), together])
    directions = Numbers(own, jnp.eye(len(own), count, -each, dtype=dtype))

    def told(numbers: Numbers) -> tuple[jax.Array, ...]:
        return forecasts(unknowns_of(numbers, layout, like), device, layout, data, longest, noisy)

    (off, variance, top, bottom), derivative = jax.linearize(told, numbers)
    known = (data["pulses"] != 0) & ~data["at_top"] & ~data["at_bottom"]
    slopes = jax.vmap(derivative)(directions)
    weight, beyond = jnp.where(known, variance**-0.5, 0.0), slopes[0]
    for at, sign, end, moves in (("at_top", -1, top, slopes[2]), ("at_bottom", 1, bottom, slopes[3])):
        place = sign * (off + REST * end) * variance**-0.5
        hazard = jnp.exp(-0.5 * place**2 - log_ndtr(place)) / jnp.sqrt(2 * jnp.pi)
        weight = jnp.where(data[at], jnp.sqrt(jnp.maximum(hazard * (hazard + place), 0.0) / variance), weight)
        beyond = beyond + jnp.where(data[at], REST * moves[:, None], 0.0)
    weighted = (
        weight * beyond,
        jnp.where(known, 0.5**0.5 / variance, 0.0) * slopes[1],
        jnp.where(data["top_rests"], slopes[2], 0.0)[:, None],
        jnp.where(data["bottom_rests"], slopes[3], 0.0)[:, None],
    )
    rows = jnp.concatenate(weighted, axis=1)  # of each direction, (directions, readings, devices)
    apart, shared, together = jnp.split(rows, (each, each + count))
    bounds = jnp.stack([slopes[2][_STEPS] * signs, slopes[3][_STEPS + 1] * signs])
    parts = jnp.concatenate([bounds, jnp.ones((each - len(_EACH), devices), dtype)])
    parts = parts / parts.sum(axis=1, keepdims=True)
    mean = (parts @ signs if devices > 1 else jnp.zeros(len(parts), dtype))[:, None, None]
    alone = (apart[_STEPS:] - mean * together) / (signs - mean)
    rows = jnp.concatenate([apart[:_STEPS] / signs, alone, shared, together - alone])
    whole = jnp.einsum("ard,brd->dab", rows, rows, precision=lax.Precision.HIGHEST)
    prior = jnp.where(jnp.arange(each) < len(_EACH), PRIOR**-2, PRIOR**-2 + DRAW**-2)
    shares = jnp.where(jnp.arange(len(rows) - each) < count, PRIOR**-2, 0.0)
    return Curvature(
        whole[:, :each, :each] + jnp.diag(prior).astype(dtype),
        whole[:, :each, each:],
        whole[:, each:, each:].sum(axis=0) + jnp.diag(shares).astype(dtype),
        parts.T,
    )


def solved(curvature: Curvature, damping: jax.Array, slope: Numbers) -> Numbers:
    """Return the solution of the linear system with a curvature whose diagonal is larger by a factor.

    Args:
        curvature: The matrix.
        damping: By which part the diagonal is larger.
        slope: The right-hand side.
    """
    each, count, dtype = slope.own.shape[1], slope.shared.size, slope.own.dtype
    means = each - _STEPS

    def damped(matrix: jax.Array, numbers: int) -> jax.Array:
        searched = jnp.arange(matrix.shape[-1]) < numbers
        return matrix * (1 + jnp.diag(jnp.where(searched, damping, 0.0)).astype(dtype))

    # each mean has a multiplier, which goes with what is shared
    conditions = -curvature.parts[:, None, :] * jnp.eye(each, means, -_STEPS, dtype=dtype)
    between = jnp.concatenate([curvature.between, conditions], axis=-1)
    shared = jnp.pad(damped(curvature.shared, count), (0, means))
    hold = jnp.eye(count + 2 * means, k=means, dtype=dtype) * (jnp.arange(count + 2 * means) >= count)[:, None]
    left = jnp.linalg.solve(damped(curvature.own, each), jnp.concatenate([between, slope.own[..., None]], axis=-1))
    reduced = jnp.einsum("das,dat->st", between, left, precision=lax.Precision.HIGHEST)
    right = jnp.pad(slope.shared, (0, 2 * means)) - reduced[:, -1]
    step = jnp.linalg.solve(shared + hold + hold.T - reduced[:, :-1], right)
    own = left[..., -1] - jnp.einsum("das,s->da", left[..., :-1], step, precision=lax.Precision.HIGHEST)
    return Numbers(own, step[:count])


def dense(curvature: Curvature, basis: Numbers) -> jax.Array:
    """Return a curvature along directions, ``(directions, directions)``.

    Args:
        curvature: The matrix.
        basis: The directions, as the first axis.
    """

    def product(first: jax.Array, second: jax.Array) -> jax.Array:
        flat = first.reshape(len(first), -1), second.reshape(len(second), -1)
        return jnp.matmul(flat[0], flat[1].T, precision=lax.Precision.HIGHEST)

    means = jnp.einsum("ndm,dm->nm", basis.own[..., _STEPS:], curvature.parts)
    shared = jnp.concatenate([basis.shared, means], axis=-1)
    own = jnp.einsum("ndi,dij->ndj", basis.own, curvature.own, precision=lax.Precision.HIGHEST)
    between = jnp.einsum("dis,ns->ndi", curvature.between, shared, precision=lax.Precision.HIGHEST)
    crossed = product(basis.own, between)
    common = jnp.matmul(shared, curvature.shared, precision=lax.Precision.HIGHEST)
    return product(own, basis.own) + crossed + crossed.T + product(common, shared)
