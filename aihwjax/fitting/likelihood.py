"""How likely measured curves are under a device.

From each reading the next one is predicted by the law of the device; what differs is the noise of the pulses. With the
standard deviation ``s`` of one pulse and ``r`` of a reading, that is normal with the variance ``n s² + 2 r²`` after
``n`` pulses. A reading that rests at a hard bound says only that the pulses would have led to the bound or beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import log_ndtr

from aihwjax.devices.base import DeviceState, PulsedDevice, Steps
from aihwjax.fitting.curves import PulseCurves
from aihwjax.fitting.unknowns import Layout, Unknowns, state_of

Data: TypeAlias = Mapping[str, jax.Array]
"""Readings and what is known of each device before the fit, in single precision."""

# Readings closer than this part of the range rest at the same bound
_SAME = 1e-6
# Parts of the range of a device within which its law is asked: at a bound a power is infinitely steep
_INSIDE = 1e-4
# Noise that is always there, relative to the typical step: what a law without noise is allowed to miss
LEAST_NOISE = 0.01
# The same at the beginning of a search, where steps of a law that is far off may vanish, and their noise with them
FIRST_NOISE = 0.5
# Standard deviation of a bound around the readings that rest there, relative to the typical step
REST = 0.1
# Standard deviation of the weak prior on all scaled numbers, which only holds what the curves say nothing about
PRIOR = 10.0
# The same of a draw, which is a standard normal of the spread that the search begins with
DRAW = 3.0


def prepared(curves: PulseCurves, device: PulsedDevice) -> tuple[dict[str, jax.Array], float]:
    """Return the data of a fit, and the noise of a reading.

    Args:
        curves: The measurement.
        device: The model; whether its pulses can meet bounds.
    """
    start, end = curves.weights[:-1], curves.weights[1:]
    known, pulses = curves.known, curves.pulses
    change = np.where(known, end - start, 0.0)
    per_pulse = np.where(known, change / np.where(pulses == 0, 1, pulses), np.nan)
    span = np.nanmax(curves.weights, axis=0) - np.nanmin(curves.weights, axis=0)
    # readings that rest at a bound say nothing of the size of a step, and may be most of them
    moves = np.abs(per_pulse) > _SAME * span
    typical = float(np.median(np.abs(per_pulse[moves]))) if moves.any() else float(span.max())
    noise = reading_noise(change, known, pulses)
    highest, lowest = np.nanmax(curves.weights, axis=0), np.nanmin(curves.weights, axis=0)
    meets = device.meets_bounds() and noise == 0
    tops = known & (pulses > 0) & (end >= highest - _SAME * span) & meets
    bottoms = known & (pulses < 0) & (end <= lowest + _SAME * span) & meets
    top_rests, bottom_rests = tops.sum(axis=0) > 1, bottoms.sum(axis=0) > 1
    data = {
        "start": np.where(known, start, 0.0),
        "end": np.where(known, end, 0.0),
        "pulses": np.where(known, pulses, 0),
        "at_top": tops & top_rests,
        "at_bottom": bottoms & bottom_rests,
        "top_rests": top_rests,
        "bottom_rests": bottom_rests,
        "highest": highest - np.where(top_rests, 0.0, 3 * noise),
        "lowest": lowest + np.where(bottom_rests, 0.0, 3 * noise),
        "span": np.maximum(span, 1e-6),
        "step_up": np.full(span.shape, typical),
        "step_down": np.full(span.shape, typical),
        "typical": np.asarray(typical),
        "reading": np.asarray(noise),
        "least": np.asarray(LEAST_NOISE),
    }
    kinds = {np.dtype(bool): jnp.bool_, np.dtype(np.int64): jnp.int32}
    return {name: jnp.asarray(value, kinds.get(value.dtype, jnp.float32)) for name, value in data.items()}, noise


def reading_noise(change: np.ndarray, known: np.ndarray, pulses: np.ndarray) -> float:
    """Return the standard deviation of a reading; 0 if it is not significant.

    The noise of a reading is in the change before and, with the other sign, in the one after it; that of pulses is in
    one change only. Second differences two steps apart have one reading in common, whose variance is their covariance,
    while the mean curve, which is smooth, is in neither.

    Args:
        change: Change of the weight between readings, ``(groups, devices)``.
        known: Where there is one.
        pulses: Pulses between the readings.
    """
    if len(change) < 4:
        return 0.0
    same = known[1:] & known[:-1] & (pulses[1:] == pulses[:-1])
    second = np.where(same, change[1:] - change[:-1], 0.0)
    both = same[2:] & same[:-2] & same[1:-1]
    products = (second[2:] * second[:-2])[both]
    if products.size < 10:
        return 0.0
    variance, error = products.mean(), products.std() / np.sqrt(products.size)
    return float(np.sqrt(variance)) if variance > 4 * error else 0.0


def steps_at(device: PulsedDevice, state: DeviceState, weights: jax.Array) -> tuple[Steps, Steps]:
    """Return the steps of each device at weights, and the noise of one pulse.

    Args:
        device: The device.
        state: Parameters ``(1, devices)``.
        weights: Weights, ``(…, devices)``.
    """
    assert state.max_bound is not None and state.min_bound is not None
    room = _INSIDE * jnp.maximum(state.max_bound - state.min_bound, 1e-9)
    v = jnp.clip(device.internal(state, weights), state.min_bound + room, state.max_bound - room)
    steps = device.steps(state, v)
    return steps, device.pulse_noise(state, v, steps)


def predicted(
    device: PulsedDevice, state: DeviceState, data: Data, longest: int, bounded: bool
) -> tuple[jax.Array, jax.Array]:
    """Return the mean and the variance of each reading, given the one before, ``(groups, devices)``.

    Args:
        device: The device.
        state: Its parameters ``(1, devices)``.
        data: The measurement.
        longest: Most pulses between two readings.
        bounded: Whether the mean stays within the bounds.
    """
    up, count = data["pulses"] > 0, jnp.abs(data["pulses"])

    def pulse(carry: tuple[jax.Array, jax.Array], number: jax.Array | int) -> tuple[tuple[jax.Array, jax.Array], None]:
        weights, variance = carry
        steps, noise = steps_at(device, state, weights)
        due = count > number
        moved = weights + jnp.where(due, jnp.where(up, steps.up, -steps.down), 0.0)
        if bounded:
            moved = within(device, state, moved)
        return (moved, variance + jnp.where(due, jnp.where(up, noise.up, noise.down) ** 2, 0.0)), None

    start = (data["start"], jnp.zeros_like(data["start"]))
    if longest == 1:
        return pulse(start, 0)[0]
    return lax.scan(pulse, start, jnp.arange(longest))[0]


def within(device: PulsedDevice, state: DeviceState, weights: jax.Array) -> jax.Array:
    """Return weights within the bounds of their device."""
    assert state.max_bound is not None and state.min_bound is not None
    inside = jnp.clip(device.internal(state, weights), state.min_bound, state.max_bound)
    return device.external(state, inside)


def forecasts(
    unknowns: Unknowns, device: PulsedDevice, layout: Layout, data: Data, longest: int, noisy: bool
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Return how far readings are from their prediction, its variance, and how far bounds are from where readings rest.

    All in units of the typical step, the last two relative to their standard deviation, ``(devices,)``.

    Args:
        unknowns: The numbers that are searched.
        device: The model.
        layout: Which of its numbers are searched.
        data: The measurement.
        longest: Most pulses between two readings.
        noisy: Whether readings have noise, so that none is seen to rest at a bound.
    """
    device, state = state_of(device, layout, unknowns, data)
    mean, variance = predicted(device, state, data, longest, noisy)
    unit = data["typical"]
    variance = variance / unit**2 + 2 * (data["reading"] / unit) ** 2 + data["least"] ** 2
    assert state.max_bound is not None and state.min_bound is not None
    top, bottom = device.external(state, state.max_bound)[0], device.external(state, state.min_bound)[0]
    rests = ((top - data["highest"]) / (REST * unit), (bottom - data["lowest"]) / (REST * unit))
    return (data["end"] - mean) / unit, variance, *rests


def loss(
    unknowns: Unknowns, device: PulsedDevice, layout: Layout, data: Data, longest: int, noisy: bool, resting: bool
) -> jax.Array:
    """Return minus the logarithm of the likelihood of all readings, divided by their number.

    Args:
        unknowns: The numbers that are searched.
        device: The model.
        layout: Which of its numbers are searched.
        data: The measurement.
        longest: Most pulses between two readings.
        noisy: Whether readings have noise, so that none is seen to rest at a bound.
        resting: Whether readings rest at bounds.
    """
    off, variance, top, bottom = forecasts(unknowns, device, layout, data, longest, noisy)
    terms = 0.5 * (off * off / variance + jnp.log(variance))
    known = data["pulses"] != 0
    total = jnp.asarray(0.0)
    if resting:
        # a reading at the bound is off by (bound - mean): the pulses would have led there or beyond
        width = jnp.sqrt(variance)
        terms = jnp.where(data["at_top"], -log_ndtr(-(off + REST * top) / width), terms)
        terms = jnp.where(data["at_bottom"], -log_ndtr((off + REST * bottom) / width), terms)
        total += jnp.sum(jnp.where(data["top_rests"], top**2, 0.0)) / 2
        total += jnp.sum(jnp.where(data["bottom_rests"], bottom**2, 0.0)) / 2
    total += jnp.sum(jnp.where(known, terms, 0.0))
    total += sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(unknowns)) / (2 * PRIOR**2)
    total += sum(jnp.sum(draw**2) for draw in unknowns["draws"].values()) / (2 * DRAW**2)
    return total / jnp.sum(known)


def with_steps(unknowns: Unknowns, device: PulsedDevice, layout: Layout, data: Data) -> Unknowns:
    """Return the numbers with the sizes of steps that fit best, device by device, for the shape that they have.

    Args:
        unknowns: The numbers.
        device: The model.
        layout: Which of its numbers are searched.
        data: The measurement.
    """
    own, state = state_of(device, layout, unknowns, data)
    steps, _ = steps_at(own, state, data["start"])
    change, pulses = data["end"] - data["start"], data["pulses"].astype(jnp.float32)
    found = dict(unknowns)
    for name, size, at, sign in (("up", steps.up, "at_top", 1), ("down", steps.down, "at_bottom", -1)):
        used = (jnp.sign(pulses) == sign) & ~data[at]
        expected = jnp.where(used, pulses * size, 0.0)
        ratio = jnp.sum(expected * change, 0) / jnp.maximum(jnp.sum(expected**2, 0), 1e-30)
        found[name] = jnp.log(jnp.clip(ratio, 0.02, 50.0))
    return found
