"""Pulse trains as bits: which lines fire in which slot, packed into words.

The slots of a mini-batch are numbered through all vectors: *pulse rows*. Thirty-two pulse rows
of a line make one word. A crosspoint sees a coincidence where the words of its row and its
column have a common bit; counting them is a logical and and a population count, exact with all
the correlations that shared lines bring.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aihwjax.loops import in_strides, repeat_while
from aihwjax.random import Stream, index, spread
from aihwjax.tile.pulsed_update.trains import Trains

BITS = 32
_HALF = BITS // 2
# Pulse rows drawn in one step of the packing loop, for large and for small batches
_UNROLL = _HALF
_SHORT_UNROLL = 2
_LARGE_BATCH = 8
# Vectors up to which looking at all finds the one of a pulse row sooner than a search does
_COUNTED_STARTS = 512
# Words that are packed in one go
_PACKED_WORDS = 8
# Words that are counted in one pass over the crosspoints
_COUNTED_WORDS = 4
_U32 = np.uint32


class Route(enum.Enum):
    """Which coincidences reach a device, and in which direction they pulse it."""

    BOTH = "both"
    """All: up where the signs of x and d differ, down where they agree."""
    UP = "up"
    """Only those where the signs differ, as up pulses."""
    DOWN_AS_UP = "down as up"
    """Only those where the signs agree, as up pulses."""

    def lead(self, fires: jax.Array, differ: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return where pulses arrive and where they go up, both as words or both as bool.

        Args:
            fires: Where row and column fire together.
            differ: Where the signs of x and d differ.
        """
        if self is Route.BOTH:
            return fires, differ
        arrives = fires & differ if self is Route.UP else fires & ~differ
        return arrives, arrives


class Lines(NamedTuple):
    """Thresholds and signs of all lines (columns first, then rows) of a mini-batch."""

    thresholds: jax.Array
    """Firing probability in units of 2^-31, ``(n, in + out)`` uint32."""
    negative: jax.Array
    """Whether x or d is negative, ``(n, in + out)``."""
    starts: jax.Array
    """First pulse row of each vector, ``(n,)``."""
    total: jax.Array
    """Number of pulse rows."""


class Words(NamedTuple):
    """Packed pulse rows, each ``(words, lines)`` uint32."""

    fires: jax.Array
    """Whether the line fires."""
    negative: jax.Array
    """Whether its value is negative; of meaning where it fires."""

    def columns(self, in_size: int) -> Words:
        """The words of the columns."""
        return Words(self.fires[:, :in_size], self.negative[:, :in_size])

    def rows(self, in_size: int) -> Words:
        """The words of the rows."""
        return Words(self.fires[:, in_size:], self.negative[:, in_size:])

    def only(self, first: jax.Array, last: jax.Array) -> Words:
        """Keep the pulse rows ``first`` to ``last - 1``, counted from the first bit; signs of others stay."""
        word = lax.broadcasted_iota(jnp.int32, (self.fires.shape[0], 1), 0) * BITS
        return Words(self.fires & below(last - word) & ~below(first - word), self.negative)

    def turned(self, lines: jax.Array | None) -> Words:
        """Turn the signs of the marked ``lines``, bool; ``None``: of no line."""
        if lines is None:
            return self
        return Words(self.fires, self.negative ^ jnp.where(lines, self.fires, _U32(0)))


def below(count: jax.Array) -> jax.Array:
    """Word with the lowest ``count`` bits set; any integer is allowed."""
    clipped = jnp.clip(count, 0, BITS)
    shift = jnp.minimum(clipped, BITS - 1).astype(jnp.uint32)
    return jnp.where(clipped >= BITS, _U32(0xFFFFFFFF), (_U32(1) << shift) - _U32(1))


def lay_out(trains: Trains, x: jax.Array, d: jax.Array) -> Lines:
    """Prepare the lines of a mini-batch for :func:`pack` and :func:`pulse_row`."""
    probability = jnp.concatenate([trains.columns, trains.rows], axis=1)
    scale = float(2**31)
    thresholds = jnp.minimum(probability, 1.0) * scale
    ends = jnp.cumsum(trains.length)
    return Lines(
        thresholds=thresholds.astype(jnp.uint32),
        negative=jnp.concatenate([x < 0, d < 0], axis=1),
        starts=ends - trains.length,
        total=ends[-1],
    )


def locate(lines: Lines, row: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the vector and the slot of a pulse row."""
    # vectors without pulses share their start with the next one; the last of them is meant
    if lines.starts.shape[0] > _COUNTED_STARTS:
        before = jnp.searchsorted(lines.starts, row, side="right").astype(jnp.int32)
    else:
        before = jnp.sum((lines.starts <= row).astype(jnp.int32))
    vector = jnp.maximum(before - 1, 0)
    return vector, row - lines.starts[vector]


def _fires(
    lines: Lines, exists: jax.Array, vector: jax.Array, draws: Stream, place: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Return which lines fire in a pulse row of ``vector``, if it exists, and which are negative, ``(lines,)`` bool."""
    threshold = lax.dynamic_index_in_dim(lines.thresholds, vector, keepdims=False)
    sign = lax.dynamic_index_in_dim(lines.negative, vector, keepdims=False)
    # as primitives, which are quicker to trace than operators: a round of a loop has up to sixteen of this
    luck = lax.shift_right_logical(draws.bits(threshold.shape, place), _U32(1))
    fires = lax.bitwise_and(lax.lt(luck, threshold), exists)
    return fires, lax.bitwise_and(fires, sign)


def _bit(marked: jax.Array, place: jax.Array | np.int32) -> jax.Array:
    """Return words with the bit at ``place`` set where bools are true."""
    word = lax.convert_element_type(marked, jnp.uint32)
    return lax.shift_left(word, lax.broadcast(lax.convert_element_type(place, jnp.uint32), word.shape))


def pulse_row(lines: Lines, row: jax.Array, stream: Stream) -> tuple[jax.Array, jax.Array]:
    """Return which lines fire in one pulse row and which of them are negative, each ``(lines,)`` bool.

    The draw is keyed by vector and slot, so a vector sends the same pulses alone or in a batch.
    """
    vector, slot = locate(lines, row)
    return _fires(lines, row < lines.total, vector, stream.child(vector).child(slot))


def pack(lines: Lines, first: jax.Array, count: int, stream: Stream, seldom: bool = False) -> Words:
    """Draw and pack the pulse rows ``first`` to ``first + 32 count - 1``; rows beyond the last are silent.

    Args:
        lines: All lines of a mini-batch.
        first: First pulse row.
        count: Number of words, at most 8 or a multiple of it.
        stream: Randomness of the lines.
        seldom: Whether it hardly ever comes to that, so that it had better be quick to compile.
    """
    if count <= _PACKED_WORDS:
        return _pack(lines, first, count, stream, seldom)

    def some(at: jax.Array, words: Words) -> Words:
        part = _pack(lines, first + at * BITS, _PACKED_WORDS, stream, seldom)
        put = (lax.dynamic_update_slice_in_dim(w, p, at, 0) for w, p in zip(words, part, strict=True))
        return Words(*put)

    silent = jnp.zeros((count, lines.thresholds.shape[1]), jnp.uint32)
    needed = jnp.minimum(-(-(lines.total - first) // BITS), count)
    return in_strides(needed, _PACKED_WORDS, some, Words(silent, silent))


def _pack(lines: Lines, first: jax.Array, count: int, stream: Stream, seldom: bool) -> Words:
    def prepare(row: jax.Array) -> tuple[jax.Array, Stream]:
        vector, slot = locate(lines, row)
        return vector, stream.child(vector).child(slot)

    # one pass for all rows, so that what follows has nothing but lines to work on
    vectors, draws = jax.vmap(prepare)(first + lax.iota(jnp.int32, count * BITS))
    rows_left = jnp.clip(lines.total - first, 0, count * BITS)
    small = seldom or lines.starts.shape[0] < _LARGE_BATCH
    in_turn = partial(pack_in_turn, unroll=_SHORT_UNROLL if small else _UNROLL)
    return lax.platform_dependent(lines, rows_left, vectors, draws, cpu=in_turn, default=pack_at_once)


@jax.jit
def _with_row(
    bits: jax.Array,
    lines: Lines,
    rows_left: jax.Array,
    vectors: jax.Array,
    draws: Stream,
    place: jax.Array,
    k: jax.Array | np.int32,
) -> jax.Array:
    """Set the bits of row ``k`` of a round: a function of its own, so that sixteen of them are traced once."""
    vector, own = jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, k, keepdims=False), (vectors, draws))
    fires, negative = _fires(lines, lax.lt(k, rows_left), vector, own, place)
    return lax.bitwise_or(lax.bitwise_or(bits, _bit(fires, k)), _bit(negative, lax.add(k, np.int32(_HALF))))


def pack_in_turn(lines: Lines, rows_left: jax.Array, vectors: jax.Array, draws: Stream, unroll: int) -> Words:
    """Draw pulse rows, a few in each round of a loop that ends with the last one: for a CPU.

    Args:
        lines: All lines of a mini-batch.
        rows_left: Number of pulse rows that exist.
        vectors: Vector of each row, ``(32 words,)``.
        draws: Randomness of each row.
        unroll: Rows of a round; a divisor of 16.
    """
    rows, width = vectors.shape[0], lines.thresholds.shape[1]
    place = spread(index((width,)))

    def step(begin: jax.Array, halves: jax.Array) -> jax.Array:
        # firing bits in the low half of a word, negative ones in the high half: drawn only once
        some = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, begin, unroll), (vectors, draws))
        bits = jnp.zeros((width,), jnp.uint32)
        for k in range(unroll):
            bits = _with_row(bits, lines, lax.sub(rows_left, begin), *some, place, np.int32(k))
        at = begin // _HALF
        if unroll == _HALF:
            return lax.dynamic_update_index_in_dim(halves, bits, at, 0)
        old = lax.dynamic_index_in_dim(halves, at, keepdims=False)
        bits = old | (bits << (begin % _HALF).astype(jnp.uint32))
        return lax.dynamic_update_index_in_dim(halves, bits, at, 0)

    halves = in_strides(rows_left, unroll, step, jnp.zeros((rows // _HALF, width), jnp.uint32))
    low, high = halves[0::2], halves[1::2]
    mask = _U32((1 << _HALF) - 1)
    return Words((low & mask) | (high << _HALF), (low >> _HALF) | (high & ~mask))


def pack_at_once(lines: Lines, rows_left: jax.Array, vectors: jax.Array, draws: Stream) -> Words:
    """Draw all pulse rows together: for accelerators, where each round of a loop waits for the host.

    The arguments and the result are those of :func:`pack_in_turn`.
    """
    rows = vectors.shape[0]
    exists = lax.iota(jnp.int32, rows) < rows_left
    place = spread(index((lines.thresholds.shape[1],)))
    drawn = jax.vmap(lambda exist, vector, own: _fires(lines, exist, vector, own, place))(exists, vectors, draws)
    bit = (lax.iota(jnp.uint32, rows) % BITS)[:, None]

    def packed(bits: jax.Array) -> jax.Array:
        placed = (bits.astype(jnp.uint32) << bit).reshape(rows // BITS, BITS, -1)
        return jnp.sum(placed, axis=1, dtype=jnp.uint32)

    return Words(*map(packed, drawn))


def count(columns: Words, rows: Words, route: Route = Route.BOTH) -> tuple[jax.Array, jax.Array]:
    """Count coincidences at every crosspoint: up and down pulses, each ``(out, in)`` int32.

    A pulse goes up where the signs of x and d differ (spec: update, section 1).
    """
    total = up = None
    for w in range(columns.fires.shape[0]):
        both = rows.fires[w][:, None] & columns.fires[w][None, :]
        both, differ = route.lead(both, rows.negative[w][:, None] ^ columns.negative[w][None, :])
        ups = lax.population_count(both & differ)
        alls = lax.population_count(both)
        total = alls if total is None else total + alls
        up = ups if up is None else up + ups
    assert total is not None and up is not None
    up_count = up.astype(jnp.int32)
    return up_count, total.astype(jnp.int32) - up_count


def packed_counts(
    columns: Words, rows: Words, first: jax.Array, last: jax.Array, route: Route = Route.BOTH
) -> jax.Array:
    """Count the coincidences in the pulse rows ``first`` to ``last - 1``, visiting only the words of these.

    Returns:
        Up pulses in the low half of a word and down pulses in the high half, ``(out, in)`` int32; see :func:`split`.
    """
    return _gathered(
        columns,
        rows,
        first,
        last,
        jnp.zeros((rows.fires.shape[1], columns.fires.shape[1]), jnp.int32),
        lambda sums, across, along: sums + _joined(*count(across, along, route)),
    )


def meet(columns: Words, rows: Words, last: jax.Array, route: Route = Route.BOTH) -> jax.Array:
    """Return which crosspoints see a coincidence in the first ``last`` pulse rows, ``(out, in)`` bool."""

    def more(met: jax.Array, across: Words, along: Words) -> jax.Array:
        for w in range(across.fires.shape[0]):
            both = along.fires[w][:, None] & across.fires[w][None, :]
            both, _ = route.lead(both, along.negative[w][:, None] ^ across.negative[w][None, :])
            met = met | (both != 0)
        return met

    nothing = jnp.zeros((rows.fires.shape[1], columns.fires.shape[1]), bool)
    return _gathered(columns, rows, jnp.zeros((), jnp.int32), last, nothing, more)


def _gathered(
    columns: Words,
    rows: Words,
    first: jax.Array,
    last: jax.Array,
    start: jax.Array,
    add: Callable[[jax.Array, Words, Words], jax.Array],
) -> jax.Array:
    """Add the words of the pulse rows ``first`` to ``last - 1`` to ``start``, a few at a time; of all if few."""
    words = columns.fires.shape[0]
    if words <= _COUNTED_WORDS:
        return add(start, columns, rows.only(first, last))
    last = jnp.minimum(last, words * BITS)

    def some(at: jax.Array) -> tuple[jax.Array, Words, Words]:
        """Return the next row, and the words from row ``at`` on."""
        start = jnp.minimum(at // BITS, words - _COUNTED_WORDS)
        shift = start * BITS

        across, along = (
            Words(*(lax.dynamic_slice_in_dim(w, start, _COUNTED_WORDS) for w in lines)) for lines in (columns, rows)
        )
        return shift + _COUNTED_WORDS * BITS, across, along.only(at - shift, last - shift)

    def more(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        # the words are cut out one round ahead, so that the compiler doesn't do it for every crosspoint
        _, following, sums, across, along = carry
        after, *part = some(following)
        return following, after, add(sums, across, along), *part

    following, across, along = some(first)
    return repeat_while(lambda carry: carry[0] < last, more, (first, following, start, across, along))[2]


def _joined(up: jax.Array, down: jax.Array) -> jax.Array:
    return up | (down << _HALF)


def split(counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the up and down pulses of :func:`packed_counts`, each ``(out, in)`` int32."""
    return counts & ((1 << _HALF) - 1), counts >> _HALF
