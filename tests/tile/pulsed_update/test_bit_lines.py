"""Pulse rows in words: packed, counted and met as bits one by one would be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax.random import NoiseEngine, Stream, stream
from aihwjax.tile.pulsed_update import bit_lines
from aihwjax.tile.pulsed_update.bit_lines import BITS, Lines, Route, Words
from aihwjax.tile.pulsed_update.trains import Trains

OUT, IN = 5, 7


@pytest.fixture
def source(key: jax.Array) -> Stream:
    return stream(key, NoiseEngine.COUNTER)


@pytest.fixture
def lines(key: jax.Array) -> Lines:
    """Twenty vectors of 0 to 60 slots: more rows than 8 words hold."""
    keys = jax.random.split(key, 5)
    count = 20
    length = jax.random.randint(keys[0], (count,), 0, 61)
    trains = Trains(length, jax.random.uniform(keys[1], (count, IN)), jax.random.uniform(keys[2], (count, OUT)))
    x, d = jax.random.normal(keys[3], (count, IN)), jax.random.normal(keys[4], (count, OUT))
    return bit_lines.lay_out(trains, x, d)


def bits(words: jax.Array) -> np.ndarray:
    """Return words as bits, ``(rows, lines)``."""
    shifted = (np.asarray(words)[:, None, :] >> np.arange(BITS)[None, :, None]) & 1
    return shifted.reshape(-1, words.shape[1]).astype(bool)


def test_packed_rows_are_those_drawn_one_by_one(lines: Lines, source: Stream) -> None:
    words = bit_lines.pack(lines, jnp.asarray(0), 24, source)
    fires, negative = bits(words.fires), bits(words.negative)
    total = int(lines.total)
    assert 8 * BITS < total < 24 * BITS
    assert not fires[total:].any()
    for row in (0, 1, 31, 32, 8 * BITS - 1, 8 * BITS, total - 1):
        one = bit_lines.pulse_row(lines, jnp.asarray(row), source)
        np.testing.assert_array_equal(fires[row], one[0])
        np.testing.assert_array_equal(negative[row], one[1])


def test_large_groups_are_small_ones_after_each_other(lines: Lines, source: Stream) -> None:
    whole = bit_lines.pack(lines, jnp.asarray(0), 16, source)
    parts = [bit_lines.pack(lines, jnp.asarray(8 * k * BITS), 8, source) for k in range(2)]
    for name in Words._fields:
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(getattr(whole, name), joined)


@pytest.mark.parametrize("route", Route)
@pytest.mark.parametrize("count", [3, 8, 13])
@pytest.mark.parametrize(("first", "last"), [(0, 1000), (0, 0), (5, 6), (31, 33), (40, 230), (250, 256), (60, 60)])
def test_counts_between_rows(lines: Lines, source: Stream, route: Route, count: int, first: int, last: int) -> None:
    words = bit_lines.pack(lines, jnp.asarray(0), 16, source)
    words = Words(*(w[:count] for w in words))
    columns, rows = words.columns(IN), words.rows(IN)
    fires, negative = bits(words.fires)[first:last], bits(words.negative)[first:last]
    both = fires[:, IN:, None] & fires[:, None, :IN]
    differ = negative[:, IN:, None] ^ negative[:, None, :IN]
    expected = {
        Route.BOTH: (both & differ, both & ~differ),
        Route.UP: (both & differ, both & False),
        Route.DOWN_AS_UP: (both & ~differ, both & False),
    }[route]
    up, down = bit_lines.split(bit_lines.packed_counts(columns, rows, jnp.asarray(first), jnp.asarray(last), route))
    np.testing.assert_array_equal(up, expected[0].sum(0))
    np.testing.assert_array_equal(down, expected[1].sum(0))
    met = bit_lines.meet(columns.only(first, last), rows.only(first, last), jnp.asarray(last), route)
    np.testing.assert_array_equal(met, (expected[0] | expected[1]).any(0))
