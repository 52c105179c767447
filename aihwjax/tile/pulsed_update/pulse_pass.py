"""One pass over the crosspoints: the effect of some up and down pulses on a device.

* :func:`first_order` takes all steps at the weight where the pass begins and clips once; exact
  for at most one pulse at a crosspoint;
* :func:`many_pulses` follows the mean path of the weight, adds the spread of the pulse noise
  and of the random order of ups and downs, and reflects at the hard bounds;
* :func:`in_order` applies a few pulse rows one after the other while the weight stays in a
  register: the exact process.

The derivation is on the page "physics: update" of the documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.devices.base import DeviceState, PulsedDevice, Steps

# Mean excess of a Gaussian walk over its continuous limit at a barrier, -zeta(1/2)/sqrt(2 pi)
_BARRIER_SHIFT = 0.5826


class Draws(NamedTuple):
    """Randomness of a pass, each ``(out, in)``."""

    normal: jax.Array
    """Standard normals of the step."""
    exponential: jax.Array | None
    """Standard exponentials of the reflection; ``None`` where no bound can be met."""


def first_order(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    up: jax.Array,
    down: jax.Array,
    normal: jax.Array | None,
) -> jax.Array:
    """Return the stored weights after ``up`` and ``down`` pulses, all taken from the same weight.

    Args:
        device: The device.
        state: Its parameters.
        weights: Stored weights.
        up: Numbers of up pulses (int).
        down: Numbers of down pulses (int).
        normal: Standard normals, ``None`` without pulse noise.
    """
    assert state.max_bound is not None and state.min_bound is not None
    v, n_up, n_down = _begun(device, state, weights, up, down)
    steps = device.steps(state, v)
    change = n_up * steps.up - n_down * steps.down
    if normal is not None:
        noise = device.pulse_noise(state, v, steps)
        variance = n_up * (noise.up * noise.up) + n_down * (noise.down * noise.down)
        change = change + normal * jnp.sqrt(variance)
    moved = device.external(state, clip(state, v + change))
    return jnp.where(reached(device, state, up + down > 0), moved, weights)


def reached(device: PulsedDevice, state: DeviceState, pulsed: jax.Array) -> jax.Array:
    """Return where pulses do something, given where there are any."""
    reacts = device.reacts(state)
    return pulsed if reacts is None else pulsed & reacts


def _begun(
    device: PulsedDevice, state: DeviceState, weights: jax.Array, up: jax.Array, down: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the internal weights from which pulses act together, and how many up and down pulses act from there."""
    v = device.internal(state, weights)
    v, used = device.admit(state, v, up > 0, down > 0)
    n_up, n_down = up.astype(jnp.float32), down.astype(jnp.float32)
    if used is not None:
        n_up, n_down = n_up - used.up, n_down - used.down
    return v, n_up, n_down


def clip(state: DeviceState, v: jax.Array) -> jax.Array:
    """Return internal weights within the device's bounds; NaN stays NaN."""
    assert state.max_bound is not None and state.min_bound is not None
    v = _larger(v, state.min_bound)
    return jnp.where(v > state.max_bound, state.max_bound, v)


# A maximum of arrays is four instructions on a CPU, because NaN wins on either side; a choice is one.
def _larger(a: jax.Array, b: jax.Array | float) -> jax.Array:
    """The larger of two numbers; NaN where ``a`` is."""
    return jnp.where(a < b, b, a)


def _rate(a: jax.Array) -> jax.Array:
    """log(1 + a) / a to second order: the continuous rate of a step with slope ``a``."""
    return 1 + a * (a / 3 - 1 / 2)


# No division: the compiler for CPUs would cut a pass in two where a quotient is used twice.
def _growth(b: jax.Array) -> jax.Array:
    """(exp(b) - 1) / b, right to 1e-4 of it for |b| < 2 and to a percent for |b| < 6; positive."""
    a = jnp.clip(b / 4, -1.5, 1.5)
    growth = 1 + a * (1 / 2 + a * (1 / 6 + a * (1 / 24 + a / 120)))
    for factor in (1, 2):  # from half the argument: (1 + exp(b / 2)) / 2 of it
        growth = growth * (1 + factor * a / 2 * growth)
    return growth


def _inverse(number: jax.Array) -> jax.Array:
    """1 / number for numbers from 1 on, by three Newton steps from a guess in the bits."""
    bits = lax.bitcast_convert_type(number, jnp.uint32)
    guess = lax.bitcast_convert_type(jnp.uint32(0x7EF311C7) - bits, jnp.float32)
    for _ in range(3):
        guess = guess * (2 - number * guess)
    return guess


class Law(NamedTuple):
    """Steps as a function of the internal weight, where that is affine."""

    start: Steps
    """At weight 0."""
    slope: Steps | None
    """Derivatives; ``None`` where steps are constant."""

    def at(self, v: jax.Array) -> Steps:
        """Return the steps at internal weights."""
        if self.slope is None:
            return self.start
        return Steps(self.start.up + self.slope.up * v, self.start.down + self.slope.down * v)


def step_law(device: PulsedDevice, state: DeviceState) -> Law | None:
    """Return the law of a device, ``None`` where steps are not affine; once for all passes of an update."""
    if device.step_law == "nonlinear":
        return None
    if device.step_law == "constant":
        assert state.max_bound is not None
        return Law(device.steps(state, jnp.zeros_like(state.max_bound)), None)
    return Law(*device.law(state))


def many_pulses(
    device: PulsedDevice,
    state: DeviceState,
    law: Law | None,
    weights: jax.Array,
    up: jax.Array,
    down: jax.Array,
    draws: Draws,
    burst: jax.Array,
) -> jax.Array:
    """Return the stored weights after ``up`` and ``down`` pulses in random order.

    Args:
        device: The device.
        state: Its parameters.
        law: What :func:`step_law` returns.
        weights: Stored weights.
        up: Numbers of up pulses (int).
        down: Numbers of down pulses (int).
        draws: Randomness.
        burst: Mean number of pulses that come together with one sign, at least 1.
    """
    v, n_up, n_down = _begun(device, state, weights, up, down)
    path = mean_path(device, state, law, v, n_up, n_down)
    number = n_up + n_down
    per_pulse = _inverse(jnp.maximum(number, 1.0))
    variance, walk = spread_along(device, state, path, n_up, n_down, burst * per_pulse)
    if path.exponent is None or path.growth is None:
        spread = jnp.sqrt(variance)
    else:
        spread = path.growth * jnp.sqrt(variance + walk * (path.exponent * path.exponent / 12))
    change = path.drift + draws.normal * spread
    if draws.exponential is not None:
        lumps = jnp.minimum(burst * per_pulse, 1.0)
        change = _reflected(state, v, change, walk, lumps, draws.exponential)
    moved = device.external(state, clip(state, v + change))
    return jnp.where(reached(device, state, up + down > 0), moved, weights)


class Path(NamedTuple):
    """The mean way of internal weights under some pulses."""

    drift: jax.Array
    """Mean change, without bounds."""
    middle: jax.Array
    """Weights half way; those at the start where steps are constant."""
    half: Steps
    """Steps there."""
    exponent: jax.Array | None
    """Exponent of the growth of deviations from the way; ``None`` where steps are constant."""
    growth: jax.Array | None
    """``(exp(exponent) - 1) / exponent``."""


def mean_path(
    device: PulsedDevice,
    state: DeviceState,
    law: Law | None,
    v: jax.Array,
    n_up: jax.Array,
    n_down: jax.Array,
    steepest: float | None = None,
) -> Path:
    """Return the mean way from internal weights ``v``: d v / d t = force + exponent (v - start), for t from 0 to 1.

    Args:
        device: The device.
        state: Its parameters.
        law: What :func:`step_law` returns.
        v: Internal weights at the start.
        n_up: Numbers of up pulses (float).
        n_down: Numbers of down pulses (float).
        steepest: Largest derivative of a step with respect to the weight that is followed; by default any.
    """
    several = n_up + n_down > 1
    if law is None:
        steps, slopes = jax.jvp(lambda w: device.steps(state, w), (v,), (jnp.ones_like(v),))
        # a power law can be infinitely steep at a bound
        slopes = Steps(*(jnp.where(jnp.isfinite(s), s, 0.0) for s in slopes))
    else:
        steps, slopes = law.at(v), law.slope
    if slopes is None:
        drift = n_up * steps.up - n_down * steps.down
        return Path(drift, v, steps, None, None)
    a_up, a_down = slopes.up, -slopes.down
    if steepest is not None:
        a_up, a_down = jnp.clip(a_up, -steepest, steepest), jnp.clip(a_down, -steepest, steepest)
    rate_up, rate_down = n_up * _rate(a_up), n_down * _rate(a_down)
    exponent = a_up * rate_up + a_down * rate_down
    force = steps.up * rate_up - steps.down * rate_down
    growth = _growth(exponent)
    drift = force * growth
    if law is None:
        end = clip(state, v + drift)
        late = device.steps(state, end)
        # of the residual of the affine law a third is felt on the way, damped by the slope
        residual = late.up * rate_up - late.down * rate_down - force - exponent * (end - v)
        drift = drift + jnp.where(several, residual / (3 - jnp.minimum(exponent, 0.0)), 0.0)
    middle = clip(state, v + jnp.where(several, drift / 2, 0.0))
    half = device.steps(state, middle) if law is None else law.at(middle)
    return Path(drift, middle, half, exponent, growth)


def spread_along(
    device: PulsedDevice, state: DeviceState, path: Path, n_up: jax.Array, n_down: jax.Array, lumps: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the variance of the pulse noise along a way, and that with the random order of ups and downs.

    Args:
        device: The device.
        state: Its parameters.
        path: The way.
        n_up: Numbers of up pulses (float).
        n_down: Numbers of down pulses (float).
        lumps: Part of the pulses that come together with one sign.
    """
    variance = jnp.zeros_like(path.drift)
    if device.present("dw_min_std"):
        noise = device.pulse_noise(state, path.middle, path.half)
        variance = n_up * (noise.up * noise.up) + n_down * (noise.down * noise.down)
    between = path.half.up + path.half.down  # an up pulse in the place of a down pulse
    return variance, variance + lumps * (n_up * n_down) * (between * between)


def _reflected(
    state: DeviceState,
    v: jax.Array,
    change: jax.Array,
    walk: jax.Array,
    lumps: jax.Array,
    exponential: jax.Array,
) -> jax.Array:
    """Return the change of weights that turn back at the bounds on their way.

    Args:
        state: Parameters of the device.
        v: Internal weights at the start.
        change: Change without bounds.
        walk: Variance of the way.
        lumps: Part of the pulses that come together.
        exponential: Standard exponentials.
    """
    assert state.max_bound is not None and state.min_bound is not None
    reach = jnp.sqrt(change * change + 2 * walk * (1 - lumps * lumps) * exponential)
    highest = (change + reach) / 2 - _BARRIER_SHIFT * jnp.sqrt(walk * lumps)
    lowest = highest - change
    change = change - _larger(_larger(change, highest) - (state.max_bound - v), 0.0)
    return change + _larger(_larger(-change, lowest) - (v - state.min_bound), 0.0)


def in_order(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    fires: jax.Array,
    ups: jax.Array,
    count: int,
    normals: Callable[[int], jax.Array],
) -> jax.Array:
    """Return the stored weights after the pulses of ``count`` rows, one after the other.

    Args:
        device: The device.
        state: Its parameters.
        weights: Stored weights.
        fires: Bit k: whether there is a pulse in row k (uint32).
        ups: Bit k: whether it goes up.
        count: Number of rows.
        normals: Gives the standard normals of row k.
    """
    noisy = device.present("dw_min_std")
    stored = weights
    for k in range(count):
        due, up = reached(device, state, ((fires >> k) & 1).astype(bool)), ((ups >> k) & 1).astype(bool)
        v, used = device.admit(state, device.internal(state, stored), due & up, due & ~up)
        steps = device.steps(state, v)
        change = jnp.where(up, steps.up, -steps.down)
        if noisy:
            noise = device.pulse_noise(state, v, steps)
            change = change + jnp.where(up, noise.up, noise.down) * normals(k)
        if used is not None:
            change = jnp.where(used.up | used.down, 0.0, change)
        stored = jnp.where(due, device.external(state, clip(state, v + change)), stored)
    return stored
