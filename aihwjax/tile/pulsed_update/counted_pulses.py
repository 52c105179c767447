"""Updates whose pulse numbers are computed instead of drawn (spec: update, sections 4.2 and 4.3).

``MEAN_COUNT`` rounds the mean number of pulses of each line, ``DETERMINISTIC_IMPLICIT`` the
product of the probabilities. The rounding is per vector, so vectors are visited one by one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.pulses import PulseType
from aihwjax.random import Stream
from aihwjax.tile.pulsed_update.bit_lines import Route
from aihwjax.tile.pulsed_update.planning import coarseness, pulses_strays
from aihwjax.tile.pulsed_update.pulse_pass import first_order, reached
from aihwjax.tile.pulsed_update.sequential import Weights, one_pulse, restore
from aihwjax.tile.pulsed_update.span import Span
from aihwjax.tile.pulsed_update.trains import Trains


def signed_counts(pulse_type: PulseType, trains: Trains, x: jax.Array, d: jax.Array, vector: jax.Array) -> jax.Array:
    """Return the pulse numbers of one vector, ``(out, in)`` int32; positive is down."""
    length = trains.length[vector].astype(jnp.float32)
    p, q = trains.columns[vector], trains.rows[vector]
    x_sign, d_sign = jnp.sign(x[vector]), jnp.sign(d[vector])
    if pulse_type is PulseType.MEAN_COUNT:
        along = x_sign * jnp.clip(jnp.round(length * p), 0, length)
        across = d_sign * jnp.clip(jnp.round(length * q), 0, length)
        counts = jnp.round(across[:, None] * along[None, :] / jnp.maximum(length, 1.0))
    else:
        along, across = x_sign * jnp.minimum(p, 1.0), d_sign * jnp.minimum(q, 1.0)
        counts = jnp.round(length * across[:, None] * along[None, :])
    return counts.astype(jnp.int32)


def arriving(
    pulse_type: PulseType,
    trains: Trains,
    x: jax.Array,
    d: jax.Array,
    vector: jax.Array,
    route: Route,
    span: Span | None,
) -> jax.Array:
    """Return the pulse numbers of one vector that reach a device, or the block of it that ``span`` is of."""
    counts = signed_counts(pulse_type, trains, x, d, vector)
    counts = counts if span is None else span.matrix(counts, vector)
    if route is Route.BOTH:
        return counts
    return -jnp.maximum(-counts if route is Route.UP else counts, 0)


def update(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    pulse_type: PulseType,
    trains: Trains,
    x: jax.Array,
    d: jax.Array,
    aggregated: bool,
    stream: Stream,
    route: Route = Route.BOTH,
    span: Span | None = None,
) -> tuple[DeviceState, jax.Array]:
    """Apply the pulses of a mini-batch and return the new device state and apparent weights.

    Aggregated: the pulses of the whole batch in one pass if the device is fine enough for its
    busiest crosspoint, else (and always when sequential) pulse by pulse.
    """
    n = x.shape[0]
    if span is not None:
        trains = trains.only(span.vectors(n))

    start = (device.stored(state, weights), weights)

    def by_pulse() -> Weights:
        def one_vector(vector: jax.Array, now: Weights) -> Weights:
            counts = arriving(pulse_type, trains, x, d, vector, route, span)
            size = jnp.abs(counts)
            own = stream.child(vector)

            def pulse(i: jax.Array, inner: Weights) -> Weights:
                due = size > i
                return one_pulse(device, state, inner, due & (counts < 0), due & (counts > 0), own.child(i))

            return lax.fori_loop(0, jnp.max(size), pulse, now)

        return lax.fori_loop(0, n, one_vector, start)

    if not aggregated:
        return restore(state, *by_pulse())

    def add(vector: jax.Array, sums: Weights) -> Weights:
        counts = arriving(pulse_type, trains, x, d, vector, route, span)
        return sums[0] + jnp.maximum(-counts, 0), sums[1] + jnp.maximum(counts, 0)

    zeros = jnp.zeros(weights.shape, jnp.int32)
    up, down = lax.fori_loop(0, n, add, (zeros, zeros))

    def together() -> Weights:
        noisy = device.present("dw_min_std")
        normal = stream.child("step").normal(weights.shape) if noisy else None
        stored = first_order(device, state, start[0], up, down, normal)
        sigma = device.write_noise()
        if sigma is None:
            return stored, stored
        fresh = stored + sigma * stream.child("write").normal(weights.shape)
        return stored, jnp.where(reached(device, state, up + down > 0), fresh, weights)

    busiest = jnp.max(up + down).astype(jnp.float32)
    longest = jnp.max(trains.length).astype(jnp.float32)
    fine = coarseness(device, state, n).is_fine(busiest, longest)
    if device.strays():
        fine = fine & ~pulses_strays(device, state, start[0], trains, span)
    return restore(state, *lax.cond(fine, together, by_pulse))
