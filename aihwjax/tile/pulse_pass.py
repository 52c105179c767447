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
    v = device.internal(state, weights)
    v, used = device.admit(state, v, up > 0, down > 0)
    n_up, n_down = up.astype(jnp.float32), down.astype(jnp.float32)
    if used is not None:
        n_up, n_down = n_up - used.up, n_down - used.down
    steps = device.steps(state, v)
    change = n_up * steps.up - n_down * steps.down
    if normal is not None:
        noise = device.pulse_noise(state, v, steps)
        variance = n_up * (noise.up * noise.up) + n_down * (noise.down * noise.down)
        change = change + normal * jnp.sqrt(variance)
    moved = device.external(state, _clip(state, v + change))
    return jnp.where(up + down > 0, moved, weights)


def _clip(state: DeviceState, v: jax.Array) -> jax.Array:
    assert state.max_bound is not None and state.min_bound is not None
    return jnp.minimum(jnp.maximum(v, state.min_bound), state.max_bound)


def _rate(a: jax.Array) -> jax.Array:
    """log(1 + a) / a to second order: the continuous rate of a step with slope ``a``."""
    return 1 - a / 2 + a * a / 3


def _growth(b: jax.Array) -> jax.Array:
    """(exp(b) - 1) / b as a rational function that stays positive."""
    return 1 / (1 - b / 2 + b * b / 12)


def many_pulses(
    device: PulsedDevice,
    state: DeviceState,
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
        weights: Stored weights.
        up: Numbers of up pulses (int).
        down: Numbers of down pulses (int).
        draws: Randomness.
        burst: Mean number of pulses that come together with one sign, at least 1.
    """
    assert state.max_bound is not None and state.min_bound is not None
    top, bottom = state.max_bound, state.min_bound
    v = device.internal(state, weights)
    v, used = device.admit(state, v, up > 0, down > 0)
    n_up, n_down = up.astype(jnp.float32), down.astype(jnp.float32)
    if used is not None:
        n_up, n_down = n_up - used.up, n_down - used.down
    number = n_up + n_down
    several = number > 1
    one = jnp.maximum(number, 1.0)

    steps, slopes = jax.jvp(lambda w: device.steps(state, w), (v,), (jnp.ones_like(v),))
    slopes = Steps(*(jnp.where(jnp.isfinite(s), s, 0.0) for s in slopes))
    a_up, a_down = slopes.up, -slopes.down
    rate_up, rate_down = _rate(a_up), _rate(a_down)
    growth_exponent = n_up * a_up * rate_up + n_down * a_down * rate_down
    force = n_up * steps.up * rate_up - n_down * steps.down * rate_down
    growth = _growth(growth_exponent)
    drift = force * growth
    if device.step_law == "nonlinear":
        end = _clip(state, v + drift)
        late = device.steps(state, end)
        late_force = n_up * late.up * rate_up - n_down * late.down * rate_down
        # of the residual of the affine law a third is felt on the way, damped by the slope
        residual = late_force - force - growth_exponent * (end - v)
        drift = drift + jnp.where(several, residual / (3 - jnp.minimum(growth_exponent, 0.0)), 0.0)

    travelled = jnp.where(several, drift / 2, 0.0)
    if device.step_law == "constant":
        middle, half = v, steps
    elif device.step_law == "affine":  # the law itself, without evaluating it again
        middle = _clip(state, v + travelled)
        half = Steps(steps.up + slopes.up * (middle - v), steps.down + slopes.down * (middle - v))
    else:
        middle = _clip(state, v + travelled)
        half = device.steps(state, middle)
    rising, falling = n_up * half.up, n_down * half.down
    squares = rising * half.up + falling * half.down
    pulse_variance = jnp.zeros_like(v)
    if device.present("dw_min_std"):
        noise = device.pulse_noise(state, middle, half)
        pulse_variance = n_up * (noise.up * noise.up) + n_down * (noise.down * noise.down)
    net = rising - falling
    order_variance = burst * jnp.maximum(squares - net * net / one, 0.0)
    spread = pulse_variance
    if device.step_law != "constant":
        curvature = growth_exponent * growth_exponent / 12
        spread = growth * growth * (pulse_variance * (1 + curvature) + order_variance * curvature)
    change = drift + draws.normal * jnp.sqrt(spread)

    if draws.exponential is not None:
        walk = order_variance + pulse_variance
        lumps = jnp.minimum(burst / one, 1.0)
        reach = jnp.sqrt(change * change + 2 * walk * (1 - lumps * lumps) * draws.exponential)
        highest = (change + reach) / 2 - _BARRIER_SHIFT * jnp.sqrt(walk * lumps)
        lowest = highest - change
        change = change - jnp.maximum(jnp.maximum(highest, change) - (top - v), 0.0)
        change = change + jnp.maximum(jnp.maximum(lowest, -change) - (v - bottom), 0.0)
    moved = device.external(state, _clip(state, v + change))
    return jnp.where(up + down > 0, moved, weights)


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
        due, up = ((fires >> k) & 1).astype(bool), ((ups >> k) & 1).astype(bool)
        v, used = device.admit(state, device.internal(state, stored), due & up, due & ~up)
        steps = device.steps(state, v)
        change = jnp.where(up, steps.up, -steps.down)
        if noisy:
            noise = device.pulse_noise(state, v, steps)
            change = change + jnp.where(up, noise.up, noise.down) * normals(k)
        if used is not None:
            change = jnp.where(used.up | used.down, 0.0, change)
        stored = jnp.where(due, device.external(state, _clip(state, v + change)), stored)
    return stored
