"""The search for the numbers of a fit, from several starts in one compiled call."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from aihwjax.devices.base import PulsedDevice
from aihwjax.fitting.curvature import Curvature, Numbers, curvature, dense, numbers_of, solved, unknowns_of
from aihwjax.fitting.likelihood import Data, forecasts, loss, steps_at, with_steps, within
from aihwjax.fitting.unknowns import Layout, Unknowns, starts, state_of
from aihwjax.loops import repeat_while
from aihwjax.typing import Key

# Square of the standard errors by which a last step moves the numbers, all together
FAR, NEAR = 1.0, 0.01
_LARGEST_STEP = 2.0
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 0.01, 1e-6, 1e6
_JITTER = 0.5


class Found(NamedTuple):
    """The end of a search from each start; every array has them as its first axis."""

    unknowns: Unknowns
    """The numbers."""
    loss: jax.Array
    """Minus the logarithm of the likelihood, for each reading."""
    iterations: jax.Array
    """Iterations that were made."""


@partial(jax.jit, static_argnames=("layout", "restarts"))
def beginnings(device: PulsedDevice, data: Data, key: Key, *, layout: Layout, restarts: int) -> Unknowns:
    """Return where searches begin: the model's own numbers, and others beside them.

    Args:
        device: The model.
        data: The measurement.
        key: Of the others.
        layout: Which numbers are searched.
        restarts: How many.
    """

    def one(number: jax.Array) -> Unknowns:
        own = starts(device, layout, data, jax.random.fold_in(key, number))
        away = jnp.where(number == 0, 0.0, _JITTER)
        # a field of 0 begins beside it: there laws that take its size have no slope
        for name, place in own["shape"].items():
            at_zero = jnp.asarray(getattr(device, name), jnp.float32) == 0
            own["shape"][name] = away * place + jnp.where(at_zero, 1.0, 0.0)
        for name in ("top", "bottom"):  # a bound beyond all readings, some times nearer or farther
            beside = jax.random.normal(jax.random.fold_in(key, number), ())
            own[name] = own[name] + jnp.where(data[f"{name}_rests"], 0.0, 2 * away * beside)
        return with_steps(own, device, layout, data)

    return jax.vmap(one)(jnp.arange(restarts))


def _limited(step: jax.Array) -> jax.Array:
    """Return a step, that of each device no longer than it can be trusted."""
    return step * jnp.minimum(1.0, _LARGEST_STEP / jnp.abs(step).max(axis=-1, keepdims=True))


class _Seen(NamedTuple):
    """What a step is made of."""

    value: jax.Array
    """Minus the logarithm of the likelihood of all readings."""
    slope: Numbers
    curvature: Curvature


@partial(jax.jit, static_argnames=("layout", "longest", "noisy", "resting"))
def search(
    begin: Unknowns,
    device: PulsedDevice,
    data: Data,
    iterations: jax.Array,
    enough: jax.Array,
    *,
    layout: Layout,
    longest: int,
    noisy: bool,
    resting: bool,
) -> Found:
    """Search from several beginnings, by Levenberg and Marquardt's steps.

    A step is that of Newton's method with the information of the readings in the place of second derivatives (Fisher
    scoring), shorter where the one before was too long.

    Args:
        begin: Numbers, of :func:`beginnings` or of a search before.
        device: The model.
        data: The measurement.
        iterations: Most iterations.
        enough: Square of the standard errors that a step has to move the numbers, for another one to follow.
        layout: Which numbers are searched.
        longest: Most pulses between two readings.
        noisy: Whether readings have noise.
        resting: Whether readings rest at bounds.
    """
    like = jax.tree.map(lambda leaf: leaf[0], begin)
    readings = jnp.sum(data["pulses"] != 0)

    def value(numbers: Numbers) -> jax.Array:
        return readings * loss(unknowns_of(numbers, layout, like), device, layout, data, longest, noisy, resting)

    def look(numbers: Numbers) -> _Seen:
        own = curvature(numbers, like, device, layout, data, longest, noisy)
        return _Seen(*jax.value_and_grad(value)(numbers), own)

    def one(begin: Unknowns) -> Found:
        def step(carry: tuple) -> tuple:
            numbers, seen, damping, count, _ = carry
            step = solved(seen.curvature, damping, seen.slope)
            moved = jax.tree.map(lambda number, change: number - _limited(change), numbers, step)
            there = look(moved)
            better = there.value < seen.value
            # what the step was to gain is half the square of the standard errors that it moves
            gain = sum(jnp.sum(one * other) for one, other in zip(step, seen.slope, strict=True))
            rests = ((gain < enough) & (damping < 1)) | (damping > _MOST_DAMPING)
            damping = jnp.where(better, jnp.maximum(damping / 5, _LEAST_DAMPING), damping * 4)
            new = jax.tree.map(lambda new, old: jnp.where(better, new, old), (moved, there), (numbers, seen))
            return *new, damping, count + 1, rests

        def on(carry: tuple) -> jax.Array:
            return (carry[3] < iterations) & ~carry[4]

        numbers = numbers_of(begin, layout)
        start = jnp.asarray(_FIRST_DAMPING, numbers.own.dtype)
        carry = (numbers, look(numbers), start, jnp.zeros((), jnp.int32), jnp.asarray(False))
        numbers, seen, _, count, _ = repeat_while(on, step, carry)
        reached = jnp.where(jnp.isfinite(seen.value), seen.value / readings, jnp.inf)
        return Found(unknowns_of(numbers, layout, like), reached, count)

    # one after the other, each ends on its own; side by side they wait for the last, which an accelerator prefers
    return lax.map(one, begin) if jax.default_backend() == "cpu" else jax.vmap(one)(begin)


@partial(jax.jit, static_argnames=("layout", "longest", "noisy", "resting"))
def information(
    unknowns: Unknowns, device: PulsedDevice, data: Data, *, layout: Layout, longest: int, noisy: bool, resting: bool
) -> jax.Array:
    """Return the Fisher information of the readings on the numbers, ``(numbers, numbers)``.

    It is what the mean and the variance of each predicted reading, and the bounds at which readings rest, tell of the
    numbers; never negative, unlike second derivatives of the likelihood.

    Args:
        unknowns: The numbers, one after the other in the order of their pytree.
        device: The model.
        data: The measurement.
        layout: Which numbers are searched.
        longest: Most pulses between two readings.
        noisy: Whether readings have noise.
        resting: Whether readings rest at bounds.
    """
    vector, whole = ravel_pytree(unknowns)
    told = curvature(numbers_of(unknowns, layout), unknowns, device, layout, data, longest, noisy)
    basis = jax.vmap(lambda one: numbers_of(whole(one), layout))(jnp.eye(vector.size, dtype=vector.dtype))
    return dense(told, basis)


class Judged(NamedTuple):
    """How well numbers describe a measurement."""

    response: jax.Array
    """Weights of each device under the pulses without noise, from its first reading on, ``(readings, devices)``."""
    deviations: jax.Array
    """What each reading is off from its prediction, in standard deviations, ``(groups, devices)``."""


@partial(jax.jit, static_argnames=("layout", "longest", "noisy", "resting"))
def judged(
    unknowns: Unknowns,
    device: PulsedDevice,
    data: Data,
    first: jax.Array,
    pulses: jax.Array,
    *,
    layout: Layout,
    longest: int,
    noisy: bool,
    resting: bool,
) -> Judged:
    """Return what the found numbers say of the measurement.

    Args:
        unknowns: The numbers.
        device: The model.
        data: The measurement.
        first: First reading of each device, ``(devices,)``.
        pulses: All pulses, also where readings are missing, ``(groups, devices)``.
        layout: Which numbers were searched.
        longest: Most pulses between two readings.
        noisy: Whether readings have noise.
        resting: Whether readings rest at bounds.
    """
    own, state = state_of(device, layout, unknowns, data)
    off, variance, _, _ = forecasts(unknowns, device, layout, data, longest, noisy)

    def group(weights: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
        def pulse(number: jax.Array, now: jax.Array) -> jax.Array:
            sizes, _ = steps_at(own, state, now[None])
            moved = now + jnp.where(count > 0, sizes.up[0], -sizes.down[0])
            return jnp.where(number < jnp.abs(count), within(own, state, moved[None])[0], now)

        weights = lax.fori_loop(0, longest, pulse, weights)
        return weights, weights

    _, later = lax.scan(group, first, pulses)
    response = jnp.concatenate([first[None], later])
    return Judged(response, off / jnp.sqrt(variance))
