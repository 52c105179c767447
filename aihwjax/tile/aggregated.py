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
from aihwjax.random import Stream
from aihwjax.tile import bit_lines
from aihwjax.tile.bit_lines import BITS, Lines, Route, Words
from aihwjax.tile.pulse_pass import Draws, Law, first_order, in_order, many_pulses, step_law
from aihwjax.tile.sequential import restore
from aihwjax.tile.span import Span
from aihwjax.tile.trains import Trains

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
# Batches below this are so often single pulse rows that these are applied one by one when coarse
_SMALL_BATCH = 4
# A medium chunk with fewer rows costs more than the exact pass
_SHORTEST_CHUNK = 16


class Limits(NamedTuple):
    """Largest errors of a pass (docs: physics of the update).

    With N pulses at the busiest crosspoint: ``slope`` bounds N |d step / d w|, ``edge`` bounds
    N (step / half range)^2 (1 + sigma^2), ``travel`` bounds N step / half range.
    """

    slope: float
    edge: float
    travel: float


FINE = Limits(slope=0.02, edge=1e-3, travel=0.03)
MEDIUM = Limits(slope=0.1, edge=0.02, travel=0.02)
# Bound on N |d step / d w| for the pulses of one vector in a pass, which have one sign and no order: the mean path
# is exact for an affine step
_BURST_SLOPE = {"constant": 0.3, "affine": 0.3, "nonlinear": 0.1}
# The same where a pass is of several such vectors, whose order is not kept
_MIXED_SLOPE = 0.15
# The same where a pass is one vector and nothing else
_VECTOR_SLOPE = {"constant": 0.5, "affine": 0.5, "nonlinear": 0.1}
# A smaller share of crosspoints within reach of a bound is not waited for
_FEW = 1e-3
# Crosspoints that are looked at
_SAMPLE = 16_384
# Spread of the reach over crosspoints and over the noise of their pulses
_REACH = 1.5
_REACH_NOISE = 3.0


class Plan(NamedTuple):
    """How the pulse rows of a mini-batch are applied."""

    fine: jax.Array
    """Whether all pulse rows may be applied at first order."""
    chunk: jax.Array
    """Most pulse rows of a medium pass; 0: apply them one by one; below 0: a vector a pass."""
    burst: jax.Array
    """Mean number of pulses at a crosspoint that come together with one sign."""
    free: jax.Array
    """Whether the bounds are out of reach of medium passes."""


class Coarseness(NamedTuple):
    """What one pulse contributes to each of the :class:`Limits`."""

    slope: jax.Array
    edge: jax.Array
    travel: jax.Array
    step: jax.Array
    """Step over half range."""

    def is_fine(self, pulses: jax.Array, longest: jax.Array) -> jax.Array:
        """Whether ``pulses`` pulses, in trains of at most ``longest`` slots, may be applied at first order."""
        first = (pulses * self.slope < FINE.slope) & (pulses * self.travel < FINE.travel)
        return first & (pulses * self.edge * longest < FINE.edge)


def coarseness(device: PulsedDevice, state: DeviceState, vectors: int) -> Coarseness:
    """Return how coarse a device is for an update by a number of vectors."""
    assert state.coarseness is not None
    slope, step = state.coarseness[0], state.coarseness[1]
    noise = jnp.asarray(device.dw_min_std) ** 2
    edge, travel = step * step * (1.0 + noise), step
    if vectors == 1:  # all pulses of a vector at a crosspoint have one sign: only noise turns back
        edge, travel = step * step * noise, jnp.zeros_like(step)
    if not device.meets_bounds():
        travel = jnp.zeros_like(step)
    return Coarseness(slope, edge, travel, step)


def plan(
    device: PulsedDevice,
    state: DeviceState,
    trains: Trains,
    total: jax.Array,
    stored: jax.Array,
    span: Span | None = None,
    load: Load | None = None,
) -> Plan:
    """Decide how many pulse rows may be applied together.

    The number of pulses at the busiest crosspoint follows from the line probabilities; with the
    device's mean slope and its step over half range it tells how far a pass would be wrong. Where
    hardly any crosspoint can reach a bound, only the slope counts.
    """
    pulse = coarseness(device, state, trains.length.shape[0])
    longest = jnp.max(trains.length).astype(jnp.float32)
    rows = total.astype(jnp.float32)

    def easy() -> Plan:
        return Plan(jnp.asarray(True), total, jnp.asarray(1.0), jnp.asarray(True))

    def careful() -> Plan:
        weight = trains.length.astype(jnp.float32)
        columns, lines, both = load_of(trains) if load is None else load
        pulses = jnp.maximum(jnp.max(columns) * jnp.max(lines) / jnp.maximum(rows, 1.0), 1e-30)
        noise = jnp.asarray(device.dw_min_std)
        # what the noise of the pulses moves hides in which order they came
        edges = jnp.maximum(pulse.edge / MEDIUM.edge, pulse.travel / (MEDIUM.travel * (1 + noise)))
        free = jnp.asarray(not device.meets_bounds())
        if device.meets_bounds():
            if span is not None:
                columns = span.narrow(columns, 0) if span.columns else columns
                lines = lines if span.columns else span.narrow(lines, 0)
            most = MEDIUM.slope / jnp.maximum(pulse.slope, 1e-30)
            reach = partial(_reach, travel=pulse.travel, noise=noise, most=most)
            free = _out_of_reach(device, state, stored, lines / jnp.maximum(rows, 1.0), columns, reach)
        edges = jnp.where(free, 0.0, edges)
        worst = jnp.maximum(pulse.slope / MEDIUM.slope, edges)
        share = jnp.minimum(1 / jnp.maximum(pulses * worst, 1e-30), 1.0)
        # pulses of one vector at a busy crosspoint come together: a chunk may be all of the busiest vector
        lump = jnp.max(weight * both) * pulse.slope
        most = _BURST_SLOPE[device.step_law] / jnp.maximum(pulse.slope * jnp.max(both), 1e-30)
        most = jnp.where(lump < jnp.minimum(_MIXED_SLOPE, _BURST_SLOPE[device.step_law]), rows, most)
        chunk = jnp.floor(jnp.minimum(rows * share, most)).astype(jnp.int32)
        together = jnp.maximum(jnp.minimum(weight, chunk.astype(jnp.float32)) - 1, 0.0)
        burst = 1 + jnp.sum(weight * together * both**2) / jnp.maximum(jnp.sum(weight * both), 1e-30)
        fine = pulse.is_fine(pulses, longest) | (free & (pulses * pulse.slope < FINE.slope))
        chunk = jnp.where(chunk < _SHORTEST_CHUNK, 0, chunk)
        # all pulses of one vector at a crosspoint have one sign: where trains are long, a pass a vector is nearly exact
        straight = (lump < _VECTOR_SLOPE[device.step_law]) & (
            jnp.max(weight * both) * (pulse.step * noise) ** 2 < MEDIUM.edge
        )
        mean_length = rows / jnp.maximum(jnp.sum(trains.length > 0), 1)
        by_vector = straight & (mean_length > jnp.maximum(chunk, _SHORTEST_CHUNK))
        return Plan(fine, jnp.where(by_vector, -1, chunk), burst, free)

    # the number of pulse rows bounds the number of pulses: usually that settles it
    return lax.cond(pulse.is_fine(rows, longest), easy, careful)


def _reach(pulses: jax.Array, *, travel: jax.Array, noise: jax.Array, most: jax.Array) -> jax.Array:
    """Return how far pulses come, over half the range; ``most`` at a time."""
    pulses = jnp.minimum(pulses, most)
    return _REACH * travel * (pulses + _REACH_NOISE * noise * jnp.sqrt(pulses))


def _out_of_reach(
    device: PulsedDevice,
    state: DeviceState,
    stored: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    reach: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Whether ``rows x columns`` pulses reach a bound at hardly any crosspoint; of large tiles a sample of rows."""
    stride = max(stored.size // _SAMPLE, 1)

    def sample(array: jax.Array) -> jax.Array:
        return array[::stride] if array.shape == stored.shape else array

    (state, now), chosen = jax.tree.map(sample, (state, stored)), rows[::stride]
    assert state.max_bound is not None and state.min_bound is not None
    v = device.internal(state, now)
    room = jnp.minimum(state.max_bound - v, v - state.min_bound)
    half = (state.max_bound - state.min_bound) / 2
    near = room < reach(chosen[:, None] * columns[None, :]) * half
    return jnp.mean(near.astype(jnp.float32)) < _FEW


class Load(NamedTuple):
    """What the pulse trains of a mini-batch bring."""

    columns: jax.Array
    """Mean number of slots in which a column fires, ``(in,)``."""
    rows: jax.Array
    """The same of rows, ``(out,)``."""
    both: jax.Array
    """Probability that the busiest crosspoint of a vector gets a pulse in a slot, ``(n,)``."""


def load_of(trains: Trains) -> Load:
    """Return the load of pulse trains."""
    weight = trains.length.astype(jnp.float32)
    p, q = jnp.minimum(trains.columns, 1.0), jnp.minimum(trains.rows, 1.0)
    both = jnp.where(trains.length > 0, jnp.max(p, axis=1) * jnp.max(q, axis=1), 0.0)
    return Load(weight @ p, weight @ q, both)


class Packed(NamedTuple):
    """The lines of a mini-batch, and the words of its first pulse rows."""

    lines: Lines
    """All lines."""
    words: Words
    """The first group of pulse rows."""
    load: Load | None
    """What they bring, if it was computed for several devices."""


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
        span: Block of lines that ``state`` and ``weights`` are of; all of the tile if not given.
        turns: Lines whose signs are turned, ``(in + out,)`` bool.
    """
    lines = packed.lines
    batch, columns = trains.columns.shape
    count = packed.words.fires.shape[0]
    decision = plan(device, state, trains, lines.total, device.stored(state, weights), span, packed.load)
    small = batch < _SMALL_BATCH
    block = span is not None and span.start is not None
    single = 1 if small and not block else _BLOCK
    sigma = device.write_noise()
    start: Weights = (device.stored(state, weights),)
    if sigma is not None:  # it is drawn once, after the last pulse: remember where there was one
        start = (*start, jnp.zeros(weights.shape, bool))
    zero, law = jnp.asarray(0, jnp.int32), step_law(device, state)

    def one_group(carry: tuple[jax.Array, Weights, Words]) -> tuple[jax.Array, Weights, Words]:
        begin, current, drawn = carry
        words, in_size = drawn.turned(turns), columns
        if span is not None:
            words, in_size = span.words(words, in_size, lines, begin)
        rows = jnp.minimum(lines.total - begin, count * BITS)
        passes = _Passes(device, state, law, in_size, batch, route)
        chunk = jnp.where(decision.fine, rows, jnp.where(decision.chunk > 0, decision.chunk, single))
        by_vector = ~decision.fine & (decision.chunk < 0)

        def one_chunk(inner: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            at, now = inner
            vector, slot = bit_lines.locate(lines, begin + at)
            size = jnp.where(by_vector, trains.length[vector] - slot, chunk)
            own = pulse_stream.child(begin + at)
            medium = ~decision.fine & (decision.chunk != 0)
            exact = ~decision.fine & (decision.chunk == 0)
            if block:
                # few crosspoints: one kind of pass for all but coarse devices is quicker to compile and hardly slower
                now = passes.exact(now, words, at, own, exact)
                return at + size, passes.many(now, words, at, size, own, decision, ~exact, always_reflect=True)
            if small:
                now = passes.first(now, words, at, size, own, ~medium)
            else:
                now = passes.first(now, words, at, size, own, decision.fine)
                now = passes.exact(now, words, at, own, exact)
            return at + size, passes.many(now, words, at, size, own, decision, medium)

        _, stored = lax.while_loop(lambda inner: inner[0] < rows, one_chunk, (zero, current[0]))
        if sigma is None:
            current = (stored,)
        else:
            met = bit_lines.meet(words.columns(in_size), words.rows(in_size), route)
            current = (stored, current[1] | met)
        begin = begin + count * BITS
        # silent and quick behind the last row
        return begin, current, bit_lines.pack(lines, begin, count, line_stream)

    _, final, _ = lax.while_loop(lambda carry: carry[0] < lines.total, one_group, (zero, start, packed.words))
    if sigma is None:
        return restore(state, final[0], final[0])
    fresh = final[0] + sigma * pulse_stream.child("write").normal(weights.shape)
    return restore(state, final[0], jnp.where(final[1], fresh, weights))


class _Passes(NamedTuple):
    """The kinds of pass over the crosspoints of one tile.

    Each runs if ``due`` (bool) is true.
    """

    device: PulsedDevice
    state: DeviceState
    law: Law | None
    in_size: int
    batch: int
    route: Route

    def first(
        self, now: jax.Array, words: Words, at: jax.Array, size: jax.Array, stream: Stream, due: jax.Array
    ) -> jax.Array:
        """First-order pass for ``size`` pulse rows; on a CPU only over the rows that fire if these are few."""
        columns, rows = words.columns(self.in_size), words.rows(self.in_size)

        def dense(due: jax.Array, now: jax.Array) -> jax.Array:
            (device, state), own, across, along = _stay(((self.device, self.state), stream, columns, rows), due)
            up, down = bit_lines.count_between(across, along, at, at + size, self.route)
            normal = own.normal(up.shape) if device.present("dw_min_std") else None
            return first_order(device, state, now, up, down, normal)

        if stream.pair is None or self.batch > _SPARSE_BATCH:
            return _once(due, dense, now)
        columns, rows = columns.only(at, at + size), rows.only(at, at + size)
        firing = jnp.sum(jnp.any(rows.fires != 0, axis=0).astype(jnp.int32))
        few = lax.platform_dependent(
            firing,
            cpu=lambda fired: fired * _SPARSE_SHARE < rows.fires.shape[1],
            default=lambda fired: fired < 0,
        )
        sparse = jnp.where(due & few, firing, 0)
        now = self._firing_rows(now, columns, rows, stream, sparse)
        return _once(due & ~few, dense, now)

    def many(
        self,
        now: jax.Array,
        words: Words,
        at: jax.Array,
        size: jax.Array,
        stream: Stream,
        plan: Plan,
        due: jax.Array,
        always_reflect: bool = False,
    ) -> jax.Array:
        """Pass over ``size`` pulse rows of a medium device."""
        columns, rows = words.columns(self.in_size), words.rows(self.in_size)

        def dense(due: jax.Array, now: jax.Array, reflects: bool) -> jax.Array:
            everything = (self.device, self.state, self.law), stream, columns, rows
            (device, state, law), own, across, along = _stay(everything, due)
            up, down = bit_lines.count_between(across, along, at, at + size, self.route)
            exponential = own.child("reflection").exponential(up.shape) if reflects else None
            draws = Draws(own.normal(up.shape), exponential)
            return many_pulses(device, state, law, now, up, down, draws, plan.burst)

        if not self.device.meets_bounds() or always_reflect:
            return _once(due, partial(dense, reflects=self.device.meets_bounds()), now)
        now = _once(due & ~plan.free, partial(dense, reflects=True), now)
        return _once(due & plan.free, partial(dense, reflects=False), now)

    def exact(self, now: jax.Array, words: Words, at: jax.Array, stream: Stream, due: jax.Array) -> jax.Array:
        """Apply the block of pulse rows that begins at row ``at``, one after the other."""
        word, shift = at // BITS, (at % BITS).astype(jnp.uint32)
        block = Words(*(lax.dynamic_index_in_dim(w, word, keepdims=True) >> shift for w in words))
        columns, rows = block.columns(self.in_size), block.rows(self.in_size)

        def dense(due: jax.Array, now: jax.Array) -> jax.Array:
            (device, state), own, across, along = _stay(((self.device, self.state), stream, columns, rows), due)
            fires = along.fires[0][:, None] & across.fires[0][None, :]
            fires, ups = self.route.lead(fires, along.negative[0][:, None] ^ across.negative[0][None, :])

            def normals(k: int) -> jax.Array:
                return own.child(k).normal(fires.shape)

            return in_order(device, state, now, fires, ups, _BLOCK, normals)

        return _once(due, dense, now)

    def _firing_rows(
        self, now: jax.Array, columns: Words, rows: Words, stream: Stream, count: jax.Array
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
            up, down = bit_lines.count(columns, lines, self.route)
            normal = None
            if noisy:
                normal = stream.normal_at(row.astype(jnp.uint32) * jnp.uint32(in_size) + column)
            changed = first_order(device, jax.tree.map(take, state), take(current), up, down, normal)
            return row, lax.dynamic_update_slice(current, changed, (row, 0))

        return lax.fori_loop(0, count, one_row, (jnp.asarray(-1, jnp.int32), now))[1]


def _once(due: jax.Array, body: Callable[[jax.Array, jax.Array], jax.Array], now: jax.Array) -> jax.Array:
    """Run ``body`` if due, in place: a loop of at most one round, where a conditional would copy the weights."""
    _, now = lax.while_loop(lambda c: c[0], lambda c: (jnp.zeros_like(c[0]), body(*c)), (due, now))
    return now


def _stay(values: _T, due: jax.Array) -> _T:
    """Tie values to what changes in a loop, so that the compiler doesn't move work on them out of it."""
    return lax.optimization_barrier((values, due))[0]
