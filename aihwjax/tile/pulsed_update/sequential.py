"""The sequential update: pulse by pulse, vector by vector. Exact and slow, the yardstick."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.loops import repeat_while
from aihwjax.random import Stream
from aihwjax.tile.pulsed_update import bit_lines
from aihwjax.tile.pulsed_update.bit_lines import Route
from aihwjax.tile.pulsed_update.pulse_pass import clip, reached
from aihwjax.tile.pulsed_update.span import Span
from aihwjax.tile.pulsed_update.trains import Trains

Weights = tuple[jax.Array, jax.Array]


def one_pulse(
    device: PulsedDevice,
    state: DeviceState,
    now: Weights,
    up: jax.Array,
    down: jax.Array,
    stream: Stream,
) -> Weights:
    """Apply one pulse where ``up`` or ``down`` (bool, ``(out, in)``) is true: step, noise, clip, write noise.

    Returns:
        Stored and apparent weights.
    """
    stored, apparent = now
    v, used = device.admit(state, device.internal(state, stored), up, down)
    steps = device.steps(state, v)
    change = jnp.where(up, steps.up, -steps.down)
    if device.present("dw_min_std"):
        noise = device.pulse_noise(state, v, steps)
        change = change + jnp.where(up, noise.up, noise.down) * stream.child("step").normal(v.shape)
    if used is not None:
        change = jnp.where(used.up | used.down, 0.0, change)
    pulsed = reached(device, state, up | down)
    stored = jnp.where(pulsed, device.external(state, clip(state, v + change)), stored)
    sigma = device.write_noise()
    if sigma is None:
        return stored, stored
    fresh = stored + sigma * stream.child("write").normal(v.shape)
    return stored, jnp.where(pulsed, fresh, apparent)


def update(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    trains: Trains,
    x: jax.Array,
    d: jax.Array,
    line_stream: Stream,
    pulse_stream: Stream,
    route: Route = Route.BOTH,
    span: Span | None = None,
) -> tuple[DeviceState, jax.Array]:
    """Apply the pulses of a mini-batch one slot after the other.

    A slot pulses every crosspoint at most once and crosspoints do not interact, so the pulses
    of a slot can be applied together (spec: update, section 5). Arguments as in
    :func:`aihwjax.tile.pulsed_update.aggregated.update`.
    """
    if span is not None:
        trains = trains.only(span.vectors(x.shape[0]))
    lines = bit_lines.lay_out(trains, x, d)
    in_size = x.shape[1]

    def one_slot(carry: tuple[jax.Array, Weights]) -> tuple[jax.Array, Weights]:
        row, now = carry
        fires, negative = bit_lines.pulse_row(lines, row, line_stream)
        columns, rows, falls, drops = fires[:in_size], fires[in_size:], negative[:in_size], negative[in_size:]
        if span is not None:
            vector, _ = bit_lines.locate(lines, row)
            (columns, rows), (falls, drops) = span.row(fires, in_size, vector), span.row(negative, in_size, vector)
        both, up = route.lead(rows[:, None] & columns[None, :], drops[:, None] ^ falls[None, :])
        now = one_pulse(device, state, now, both & up, both & ~up, pulse_stream.child(row))
        return row + 1, now

    start = (jnp.asarray(0, jnp.int32), (device.stored(state, weights), weights))
    _, (stored, apparent) = repeat_while(lambda carry: carry[0] < lines.total, one_slot, start)
    return restore(state, stored, apparent)


def restore(state: DeviceState, stored: jax.Array, apparent: jax.Array) -> tuple[DeviceState, jax.Array]:
    """Put stored and apparent weights back where the device keeps them."""
    if state.persistent is None:
        return state, stored
    return dataclasses.replace(state, persistent=stored), apparent
