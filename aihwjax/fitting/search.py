"""The search for the numbers of a fit: limited-memory BFGS from several starts, in one compiled call."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree

from aihwjax.devices.base import PulsedDevice
from aihwjax.fitting.likelihood import PRIOR, Data, forecasts, loss, steps_at, with_steps, within
from aihwjax.fitting.unknowns import Layout, Unknowns, starts, state_of
from aihwjax.loops import repeat_while
from aihwjax.typing import Key

_MEMORY = 20
_MOST_TRIALS = 12
# Small enough that a further iteration would move no number by a visible part of its standard error
_GRADIENT = 2e-5
_CHANGE = 1e-7
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


@partial(jax.jit, static_argnames=("layout", "longest", "noisy", "resting"))
def search(
    begin: Unknowns,
    device: PulsedDevice,
    data: Data,
    iterations: jax.Array,
    *,
    layout: Layout,
    longest: int,
    noisy: bool,
    resting: bool,
) -> Found:
    """Search from several beginnings.

    Args:
        begin: Numbers, of :func:`beginnings` or of a search before.
        device: The model.
        data: The measurement.
        iterations: Most iterations.
        layout: Which numbers are searched.
        longest: Most pulses between two readings.
        noisy: Whether readings have noise.
        resting: Whether readings rest at bounds.
    """
    _, whole = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], begin))

    def value(vector: jax.Array) -> jax.Array:
        return loss(whole(vector), device, layout, data, longest, noisy, resting)

    solver = optax.lbfgs(
        memory_size=_MEMORY, linesearch=optax.scale_by_zoom_linesearch(max_linesearch_steps=_MOST_TRIALS)
    )
    value_and_grad = optax.value_and_grad_from_state(value)

    def one(begin: jax.Array) -> Found:
        def step(carry: tuple) -> tuple:
            vector, state, _, count, _ = carry
            now, slope = value_and_grad(vector, state=state)
            updates, state = solver.update(slope, state, vector, value=now, grad=slope, value_fn=value)
            vector = optax.apply_updates(vector, updates)
            slope = optax.tree.get(state, "grad")
            change = now - optax.tree.get(state, "value")
            rests = (jnp.max(jnp.abs(slope)) < _GRADIENT) | (change < _CHANGE)
            return vector, state, optax.tree.get(state, "value"), count + 1, rests

        def on(carry: tuple) -> jax.Array:
            return (carry[3] < iterations) & ~carry[4]

        carry = (begin, solver.init(begin), jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32), jnp.asarray(False))
        vector, _, reached, count, _ = repeat_while(on, step, carry)
        return Found(whole(vector), jnp.where(jnp.isfinite(reached), reached, jnp.inf), count)

    return jax.vmap(one)(jax.vmap(lambda unknowns: ravel_pytree(unknowns)[0])(begin))


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
    known = (data["pulses"] != 0) & ~data["at_top"] & ~data["at_bottom"]

    def told(vector: jax.Array) -> tuple[jax.Array, ...]:
        forecast = forecasts(whole(vector), device, layout, data, longest, noisy)
        bounds = [
            jnp.where(data[f"{end}_rests"], off, 0.0) for end, off in zip(("top", "bottom"), forecast[2:], strict=True)
        ]
        return (*forecast[:2], *bounds)

    variance = told(vector)[1]
    weights = (jnp.where(known, variance**-0.5, 0.0), jnp.where(known, 0.5**0.5 / variance, 0.0), 1.0, 1.0)

    def row(direction: jax.Array) -> jax.Array:
        slopes = jax.jvp(told, (vector,), (direction,))[1]
        return jnp.concatenate([jnp.ravel(weight * slope) for weight, slope in zip(weights, slopes, strict=True)])

    rows = lax.map(row, jnp.eye(vector.size))
    return jnp.matmul(rows, rows.T, precision=lax.Precision.HIGHEST) + jnp.eye(vector.size) / PRIOR**2


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
