"""The aggregated update: as many pulses at once as the device allows.

The pulse rows of a mini-batch are packed into words, group by group. How a group is applied
depends on how coarse the device is for this update:

* *fine*: all pulse rows in one first-order pass over the crosspoints;
* *medium*: in chunks, each in one pass that follows the mean path and its spread;
* *coarse*: pulse row by pulse row, a few in one pass over memory: the exact process.

All decisions are run-time numbers: nothing recompiles. See the page "physics: update".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.devices.base import DeviceState, PulsedDevice
from aihwjax.loops import in_strides, once, repeat_while
from aihwjax.random import Stream
from aihwjax.tile.pulsed_update import bit_lines
from aihwjax.tile.pulsed_update.bit_lines import BITS, Lines, Route, Words
from aihwjax.tile.pulsed_update.planning import Load, Plan, load_of, plan
from aihwjax.tile.pulsed_update.pulse_pass import Draws, Law, first_order, in_order, many_pulses, reached, step_law
from aihwjax.tile.pulsed_update.sequential import restore
from aihwjax.tile.pulsed_update.span import Span
from aihwjax.tile.pulsed_update.trains import Trains

_T = TypeVar("_T")
Weights = tuple[jax.Array, ...]
"""Stored weights and, with write noise, where a pulse came."""

_MOST_WORDS = 8
# On a CPU, visit single rows when fewer than one in so many fires
_SPARSE_SHARE = 3
# In larger batches nearly all rows fire
_SPARSE_BATCH = 16
# Pulse rows that the exact pass takes at once; a divisor of the bits of a word
_BLOCK = 4
# Batches below this are often single pulse rows
_SMALL_BATCH = 4


class Packed(NamedTuple):
    """The lines of a mini-batch, and the words of its first pulse rows."""

    lines: Lines
    """All lines."""
    words: Words
    """The first group of pulse rows."""
    load: Load | None
    """What they bring, if they are for several devices; then they are nearly always all."""


def pack(trains: Trains, x: jax.Array, d: jax.Array, stream: Stream, words: int | None = None) -> Packed:
    """Draw and pack the first pulse rows of a mini-batch.

    Args:
        trains: Train lengths and probabilities.
        x: Inputs ``(n, in)``; only their signs matter here.
        d: Output gradients ``(n, out)``; only their signs matter here.
        stream: Randomness of the lines.
        words: Words of a group, 32 pulse rows each, for several devices; by default one for every 32 vectors.
    """
    lines = bit_lines.lay_out(trains, x, d)
    count = min(-(-x.shape[0] // BITS), _MOST_WORDS) if words is None else words
    load = None if words is None else load_of(trains)
    return Packed(lines, bit_lines.pack(lines, jnp.zeros((), jnp.int32), count, stream), load)


def update(
    device: PulsedDevice,
    state: DeviceState,
    weights: jax.Array,
    trains: Trains,
    packed: Packed,
    line_stream: Stream,
    pulse_stream: Stream,
    route: Route = Route.BOTH,
    span: Span | None = None,
    turns: jax.Array | None = None,
) -> tuple[DeviceState, jax.Array]:
    """Apply the pulses of a mini-batch and return the new device state and apparent weights.

    Args:
        device: The device.
        state: Its state.
        weights: Apparent weights ``(out, in)``.
        trains: Train lengths and probabilities.
        packed: The same, laid out, with the first group of pulse rows.
        line_stream: Randomness of the lines.
        pulse_stream: Randomness of the pulses.
        route: Which coincidences reach the device.
        span: Block of lines that ``weights`` are of; all of the tile if not given.
        turns: Lines whose signs are turned, ``(in + out,)`` bool.
    """
    lines = packed.lines
    batch, columns = trains.columns.shape
    count = packed.words.fires.shape[0]
    decision = plan(device, state, trains, lines.total, device.stored(state, weights), span, packed.load)
    small = batch < _SMALL_BATCH
    block = span is not None and span.start is not None
    ordered = block or not small
    coarse, medium = ~decision.fine & (decision.chunk == 0), ~decision.fine & (decision.chunk != 0)
    # small batches are so often single pulse rows that these are applied at first order when coarse
    direct = decision.fine if ordered else ~medium
    if block:
        # few crosspoints: a single kind of pass for all but coarse devices is quicker to compile and hardly slower
        medium = ~coarse
    sigma = device.write_noise()
    start: Weights = (device.stored(state, weights),)
    if sigma is not None:  # it is drawn once, after the last pulse: remember where there was one
        start = (*start, jnp.zeros(weights.shape, bool))

    def one_group(begin: jax.Array, current: Weights) -> Weights:
        drawn = lax.cond(
            begin > 0,
            lambda: bit_lines.pack(lines, begin, count, line_stream, seldom=packed.load is not None),
            lambda: packed.words,
        )
        words, in_size = drawn.turned(turns), columns
        if span is not None:
            words, in_size = span.words(words, in_size, lines, begin)
        rows = jnp.minimum(lines.total - begin, count * BITS)
        passes = _Passes(device, state, batch, span if block else None)
        chunk = jnp.where(decision.fine, rows, decision.chunk)
        by_vector = ~decision.fine & (decision.chunk < 0)

        def part(at: jax.Array, size: jax.Array | int) -> tuple[_Part, Stream]:
            cut = _Part(words.columns(in_size), words.rows(in_size), at, at + size, route)
            return cut, pulse_stream.child(begin + at)

        def in_order(at: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
            return at + _BLOCK, passes.exact(now, *part(at, _BLOCK), coarse)

        def at_once(at: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
            size = jnp.where(decision.fine, rows, 1)
            return at + size, passes.first(now, *part(at, size), direct)

        def along_the_path(due: jax.Array, now: jax.Array) -> jax.Array:
            law = None if block else step_law(device, _stay(state, due))

            def one(at: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
                vector, slot = bit_lines.locate(lines, begin + at)
                size = jnp.where(by_vector, trains.length[vector] - slot, chunk)
                own, stream = part(at, size)
                return at + size, passes.many(now, own, stream, law, decision, due)

            return _chunks(due, rows, one, now)

        stored = current[0]
        if ordered:
            stored = _chunks(coarse, rows, in_order, stored)
        if not block:
            stored = _chunks(direct, rows, at_once, stored)
        stored = once(medium, along_the_path, stored)
        if sigma is None:
            current = (stored,)
        else:
            met = bit_lines.meet(words.columns(in_size), words.rows(in_size), rows, route)
            current = (stored, current[1] | met)
        return current

    final = in_strides(lines.total, count * BITS, one_group, start)
    if sigma is None:
        return restore(state, final[0], final[0])
    fresh = final[0] + sigma * pulse_stream.child("write").normal(weights.shape)
    met = reached(device, state if span is None else span.cut(state), final[1])
    return restore(state, final[0], jnp.where(met, fresh, weights))


class _Part(NamedTuple):
    """Some of the pulse rows that are packed."""

    columns: Words
    """Words of the columns; all that are packed."""
    rows: Words
    """Words of the rows."""
    first: jax.Array
    """First pulse row, counted from the first bit."""
    last: jax.Array
    """Behind the last one."""
    route: Route
    """Which coincidences reach the device."""

    def counts(self, due: jax.Array | None = None) -> jax.Array:
        """Return the packed numbers of pulses, ``(out, in)``; ``due``: what an enclosing loop changes."""
        columns, rows = self.columns, self.rows
        if due is not None:
            columns, rows = _stay((columns, rows), due)
        return bit_lines.packed_counts(columns, rows, self.first, self.last, self.route)


class _Passes(NamedTuple):
    """The kinds of pass over the crosspoints of one tile.

    Each runs if ``due`` (bool) is true.
    """

    device: PulsedDevice
    state: DeviceState
    batch: int
    block: Span | None
    """Lines that the passes are over; ``None``: all of the tile."""

    def stay(self, due: jax.Array) -> tuple[PulsedDevice, DeviceState]:
        """Return the device and the parameters of the crosspoints for a pass that runs if due.

        Those of a block are cut out in the pass, all in one way over memory. Each for itself, before it,
        would wait for memory alone.
        """
        device, state = _stay((self.device, self.state), due)
        return device, state if self.block is None else self.block.cut(state)

    def first(self, now: jax.Array, part: _Part, stream: Stream, due: jax.Array) -> jax.Array:
        """First-order pass; on a CPU only over the rows that fire if these are few."""

        def dense(due: jax.Array, now: jax.Array) -> jax.Array:
            (device, state), own = self.stay(due), _stay(stream, due)
            up, down = bit_lines.split(part.counts(due))
            normal = own.normal(up.shape) if device.present("dw_min_std") else None
            return first_order(device, state, now, up, down, normal)

        if stream.pair is None or self.batch > _SPARSE_BATCH:
            return once(due, dense, now)
        columns, rows = (lines.only(part.first, part.last) for lines in (part.columns, part.rows))
        firing = jnp.sum(jnp.any(rows.fires != 0, axis=0).astype(jnp.int32))
        few = lax.platform_dependent(
            firing,
            cpu=lambda fired: fired * _SPARSE_SHARE < rows.fires.shape[1],
            default=lambda fired: fired < 0,
        )
        sparse = jnp.where(due & few, firing, 0)
        now = self._firing_rows(now, columns, rows, part.route, stream, sparse)
        return once(due & ~few, dense, now)

    def many(
        self,
        now: jax.Array,
        part: _Part,
        stream: Stream,
        law: Law | None,
        plan: Plan,
        due: jax.Array,
    ) -> jax.Array:
        """Pass over a chunk of a medium device."""

        def dense(due: jax.Array, now: jax.Array, reflects: bool) -> jax.Array:
            (device, state), own = self.stay(due), _stay(stream, due)
            up, down = bit_lines.split(_stay(counts, due))
            known = law if self.block is None else step_law(device, state)
            exponential = own.child("reflection").exponential(up.shape) if reflects else None
            draws = Draws(own.normal(up.shape), exponential)
            return many_pulses(device, state, known, now, up, down, draws, plan.burst)

        counts = part.counts()  # for whichever of the two comes
        if not self.device.meets_bounds() or self.block is not None:
            return once(due, partial(dense, reflects=self.device.meets_bounds()), now)
        now = once(due & ~plan.free, partial(dense, reflects=True), now)
        return once(due & plan.free, partial(dense, reflects=False), now)

    def exact(self, now: jax.Array, part: _Part, stream: Stream, due: jax.Array) -> jax.Array:
        """Apply the block of pulse rows that begins with the first, one after the other."""
        word, shift = part.first // BITS, (part.first % BITS).astype(jnp.uint32)
        columns, rows = (
            Words(*(lax.dynamic_index_in_dim(w, word, keepdims=True) >> shift for w in lines))
            for lines in (part.columns, part.rows)
        )

        def dense(due: jax.Array, now: jax.Array) -> jax.Array:
            (device, state), (own, across, along) = self.stay(due), _stay((stream, columns, rows), due)
            fires = along.fires[0][:, None] & across.fires[0][None, :]
            fires, ups = part.route.lead(fires, along.negative[0][:, None] ^ across.negative[0][None, :])

            def normals(k: int) -> jax.Array:
                return own.child(k).normal(fires.shape)

            return in_order(device, state, now, fires, ups, _BLOCK, normals)

        return once(due, dense, now)

    def _firing_rows(
        self, now: jax.Array, columns: Words, rows: Words, route: Route, stream: Stream, count: jax.Array
    ) -> jax.Array:
        """First-order pass over the first ``count`` rows that fire; the same numbers as the dense pass."""
        device, state, (out_size, in_size) = self.device, self.state, now.shape
        noisy = device.present("dw_min_std")
        number = lax.iota(jnp.int32, out_size)
        fires = jnp.any(rows.fires != 0, axis=0)
        column = lax.iota(jnp.uint32, in_size)[None, :]

        def one_row(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            last, current = carry
            row = jnp.min(jnp.where(fires & (number > last), number, out_size - 1))

            def take(array: jax.Array) -> jax.Array:
                if array.shape != (out_size, in_size):
                    return array
                return lax.dynamic_slice(array, (row, 0), (1, in_size))

            lines = Words(*(lax.dynamic_slice(w, (0, row), (w.shape[0], 1)) for w in rows))
            up, down = bit_lines.count(columns, lines, route)
            normal = None
            if noisy:
                normal = stream.normal_at(row.astype(jnp.uint32) * jnp.uint32(in_size) + column)
            changed = first_order(device, jax.tree.map(take, state), take(current), up, down, normal)
            return row, lax.dynamic_update_slice(current, changed, (row, 0))

        return lax.fori_loop(0, count, one_row, (jnp.asarray(-1, jnp.int32), now))[1]


def _chunks(
    due: jax.Array,
    rows: jax.Array,
    one: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
    now: jax.Array,
) -> jax.Array:
    """If due, apply ``rows`` pulse rows chunk by chunk; ``one`` maps first row and weights to the next ones."""
    start = (jnp.zeros((), jnp.int32), now)
    return repeat_while(lambda carry: due & (carry[0] < rows), lambda carry: one(*carry), start)[1]


def _stay(values: _T, due: jax.Array) -> _T:
    """Tie values to what changes in a loop, so that the compiler doesn't move work on them out of it."""
    return lax.optimization_barrier((values, due))[0]
