"""The aggregated update: as many pulses at once as the device allows.

The pulse rows of a mini-batch are packed into words, group by group. Each group is applied in
as few passes over the crosspoints as the device's coarseness permits, down to single pulses,
which is the exact sequential process. All decisions are run-time numbers: nothing recompiles.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.random import Stream
from aihwjax.tile import bit_lines
from aihwjax.tile.bit_lines import BITS, Words
from aihwjax.tile.pulse_pass import Draws, first_order, many_pulses
from aihwjax.tile.trains import Trains

_MOST_WORDS = 8
# Below these the first-order pass with one clip is enough (docs: physics of the update)
_FINE_SLOPE = 0.02
_FINE_EDGE = 1e-3
# Above them a pass is cut so that these are what is left in a chunk
_CHUNK_SLOPE = 0.5
_CHUNK_EDGE = 0.02


class Plan(NamedTuple):
    """How the pulse rows of a mini-batch are applied."""

    fine: jax.Array
    """Whether all pulse rows may be applied at first order."""
    chunk: jax.Array
    """Most pulse rows of one pass."""
    burst: jax.Array
    """Mean number of pulses at a crosspoint that come together with one sign."""


def plan(device: PulsedDevice, state: DeviceState, trains: Trains, total: jax.Array) -> Plan:
    """Decide how many pulse rows may be applied together.

    The number of pulses at a busy crosspoint follows from the line probabilities; with the
    device's mean slope and its step over half range it tells how far first order is wrong.
    """
    assert state.coarseness is not None
    slope, step = state.coarseness[0], state.coarseness[1]
    noise = 1.0 + device.dw_min_std**2
    longest = jnp.max(trains.length).astype(jnp.float32)
    rows = total.astype(jnp.float32)
    edge = step * step * noise

    def is_fine(pulses: jax.Array) -> jax.Array:
        return (pulses * slope < _FINE_SLOPE) & (pulses * edge * longest < _FINE_EDGE)

    def easy() -> Plan:
        return Plan(jnp.asarray(True), total, jnp.asarray(1.0))

    def careful() -> Plan:
        weight = trains.length.astype(jnp.float32)
        p, q = jnp.minimum(trains.columns, 1.0), jnp.minimum(trains.rows, 1.0)
        mean_p, mean_q = weight @ p, weight @ q
        busy_p = jnp.sum(mean_p**2) / jnp.maximum(jnp.sum(mean_p), 1e-30)
        busy_q = jnp.sum(mean_q**2) / jnp.maximum(jnp.sum(mean_q), 1e-30)
        pulses = busy_p * busy_q / jnp.maximum(rows, 1.0)
        share = jnp.minimum(
            _CHUNK_SLOPE / jnp.maximum(pulses * slope, 1e-30),
            _CHUNK_EDGE / jnp.maximum(pulses * edge, 1e-30),
        )
        chunk = jnp.clip(jnp.floor(rows * jnp.minimum(share, 1.0)), 1, None).astype(jnp.int32)
        together = jnp.minimum(weight, chunk.astype(jnp.float32)) - 1
        pairs = jnp.sum(weight * together * jnp.mean(p**2, axis=1) * jnp.mean(q**2, axis=1))
        singles = jnp.sum(weight * jnp.mean(p, axis=1) * jnp.mean(q, axis=1))
        burst = 1 + jnp.maximum(pairs / jnp.maximum(singles, 1e-30), 0.0)
        fine = is_fine(pulses)
        return Plan(fine, jnp.where(fine, total, chunk), burst)

    # the number of pulse rows bounds the number of pulses: usually that settles it
    return lax.cond(is_fine(rows), easy, careful)


def update(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    trains: Trains,
    x: jax.Array,
    d: jax.Array,
    stream: Stream,
) -> tuple[DeviceState, jax.Array]:
    """Apply the pulses of a mini-batch and return the new device state and apparent weights.

    Args:
        device: The device.
        state: Its state.
        weights: Apparent weights ``(out, in)``.
        trains: Train lengths and probabilities.
        x: Inputs ``(n, in)``; only their signs matter here.
        d: Output gradients ``(n, out)``; only their signs matter here.
        stream: Randomness of trains and pulses.
    """
    lines = bit_lines.lay_out(trains, x, d)
    decision = plan(device, state, trains, lines.total)
    count = min(-(-x.shape[0] // BITS), _MOST_WORDS)
    group = count * BITS
    in_size = x.shape[1]
    train_stream, pulse_stream = stream.child("trains"), stream.child("pulses")
    carried = (jnp.asarray(0, jnp.int32), (device.stored(state, weights), weights))

    def one_group(carry: tuple[jax.Array, _Weights]) -> tuple[jax.Array, _Weights]:
        begin, current = carry
        words = bit_lines.pack(lines, begin, count, train_stream)
        rows = jnp.minimum(lines.total - begin, group)
        chunk = jnp.minimum(decision.chunk, rows)

        def one_chunk(inner: tuple[jax.Array, _Weights]) -> tuple[jax.Array, _Weights]:
            at, now = inner
            part = words.only(at, at + chunk)
            first = decision.fine | (chunk == 1)
            now = _one_pass(device, state, now, part, in_size, first, decision.burst, pulse_stream.child(begin + at))
            return at + chunk, now

        _, current = lax.while_loop(lambda inner: inner[0] < rows, one_chunk, (jnp.asarray(0, jnp.int32), current))
        return begin + group, current

    _, (stored, apparent) = lax.while_loop(lambda carry: carry[0] < lines.total, one_group, carried)
    if state.persistent is None:
        return state, stored
    return dataclasses.replace(state, persistent=stored), apparent


_Weights = tuple[jax.Array, jax.Array]


def _one_pass(
    device: PulsedDevice,
    state: DeviceState,
    now: _Weights,
    words: Words,
    in_size: int,
    first: jax.Array,
    burst: jax.Array,
    stream: Stream,
) -> _Weights:
    columns, rows = words.columns(in_size), words.rows(in_size)
    noisy = device.present("dw_min_std")

    def dense_first(now: _Weights) -> _Weights:
        up, down = bit_lines.count(columns, rows)
        normal = stream.normal(up.shape) if noisy else None
        stored = first_order(device, state, now[0], up, down, normal)
        return _appear(device, now, stored, up + down > 0, stream)

    def dense_many(now: _Weights) -> _Weights:
        up, down = bit_lines.count(columns, rows)
        exponential = None
        if device.hard_bounds:
            exponential = -jnp.log1p(-stream.child("reflection").uniform(up.shape))
        draws = Draws(stream.normal(up.shape), exponential)
        stored = many_pulses(device, state, now[0], up, down, draws, burst)
        return _appear(device, now, stored, up + down > 0, stream)

    if stream.pair is None or device.write_noise() is not None:
        return lax.cond(first, dense_first, dense_many, now)

    def sparse_first(now: _Weights) -> _Weights:
        return _firing_rows(device, state, now, columns, rows, stream)

    firing = jnp.sum(jnp.any(rows.fires != 0, axis=0).astype(jnp.int32))
    few = firing * 3 < rows.fires.shape[1]
    sparse = lax.platform_dependent(
        cpu=lambda: few.astype(jnp.int32), default=lambda: jnp.zeros((), jnp.int32)
    )
    branch = jnp.where(first, sparse, 2)
    return lax.switch(branch, [dense_first, sparse_first, dense_many], now)


def _appear(
    device: PulsedDevice, now: _Weights, stored: jax.Array, pulsed: jax.Array, stream: Stream
) -> _Weights:
    """Return stored and apparent weights; write noise is redrawn where a pulse came."""
    sigma = device.write_noise()
    if sigma is None:
        return stored, stored
    fresh = stored + sigma * stream.child("write").normal(stored.shape)
    return stored, jnp.where(pulsed, fresh, now[1])


def _firing_rows(
    device: PulsedDevice, state: DeviceState, now: _Weights, columns: Words, rows: Words, stream: Stream
) -> _Weights:
    """First-order pass over the rows that fire only; the same numbers as the dense pass."""
    weights = now[0]
    out_size, in_size = weights.shape
    noisy = device.present("dw_min_std")
    fires = jnp.any(rows.fires != 0, axis=0)
    # row numbers of the firing rows, in order, padded with the last row
    places = jnp.nonzero(fires, size=out_size, fill_value=out_size - 1)[0].astype(jnp.int32)
    total = jnp.sum(fires.astype(jnp.int32))
    column = lax.iota(jnp.uint32, in_size)[None, :]

    def one_row(i: jax.Array, current: jax.Array) -> jax.Array:
        row = places[i]

        def take(array: jax.Array) -> jax.Array:
            if array.shape != (out_size, in_size):
                return array
            return lax.dynamic_slice(array, (row, 0), (1, in_size))

        lines = Words(*(lax.dynamic_slice(w, (0, row), (w.shape[0], 1)) for w in rows))
        up, down = bit_lines.count(columns, lines)
        normal = None
        if noisy:
            normal = stream.normal_at(row.astype(jnp.uint32) * jnp.uint32(in_size) + column)
        changed = first_order(device, jax.tree.map(take, state), take(current), up, down, normal)
        return lax.dynamic_update_slice(current, changed, (row, 0))

    stored = lax.fori_loop(0, total, one_row, weights)
    return stored, stored
