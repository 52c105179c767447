"""A block of lines of a tile, and the vectors whose pulses each of these lines gets.

Compounds read a line in the middle of a mini-batch. Its crosspoints then get the pulses of the
vectors before the read in one pass and those after it in another; all other lines need one pass.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.tile.pulsed_update.bit_lines import BITS, Lines, Words, below

_T = TypeVar("_T")


def cut(tree: _T, shape: tuple[int, int], start: jax.Array, size: int, axis: int) -> _T:
    """Return ``size`` lines from ``start`` on of every array of ``shape``; other arrays stay as they are."""

    def part(array: jax.Array) -> jax.Array:
        return array if array.shape != shape else lax.dynamic_slice_in_dim(array, start, size, axis)

    return jax.tree.map(part, tree)


class Span(NamedTuple):
    """Consecutive columns (or rows) of a tile, each with a range of vectors.

    The weights that go with it are those of the block alone, and so is what pulses change in the device's state.
    """

    columns: bool
    """Whether the lines are columns, else rows."""
    start: jax.Array | None
    """Index of the first line; ``None``: the block is the whole tile."""
    first: jax.Array
    """First vector for each line, ``(size,)``."""
    last: jax.Array
    """Vector behind the last one for each line, ``(size,)``."""
    tile: tuple[int, int] | None = None
    """Size of the tile, ``(out, in)``, if the device's parameters are those of the whole tile."""

    def cut(self, tree: _T) -> _T:
        """Return the block's part of every array of the tile's size; other arrays stay as they are."""
        if self.start is None or self.tile is None:
            return tree
        return cut(tree, self.tile, self.start, self.first.shape[0], 1 if self.columns else 0)

    def narrow(self, array: jax.Array, axis: int) -> jax.Array:
        """Return the block's part of an array whose ``axis`` runs over the lines."""
        if self.start is None:
            return array
        return lax.dynamic_slice_in_dim(array, self.start, self.first.shape[0], axis=axis)

    def vectors(self, count: int) -> jax.Array:
        """Return which of ``count`` vectors pulse any of the lines, ``(count,)`` bool."""
        number = lax.iota(jnp.int32, count)
        return (number >= jnp.min(self.first)) & (number < jnp.max(self.last))

    def contains(self, vector: jax.Array) -> jax.Array:
        """Return which lines get the pulses of ``vector``, ``(size,)`` bool."""
        return (vector >= self.first) & (vector < self.last)

    def words(self, words: Words, in_size: int, lines: Lines, begin: jax.Array) -> tuple[Words, int]:
        """Return the block's words, silent where a line's vectors are not meant, and the number of columns.

        Args:
            words: Words of all columns, then all rows.
            in_size: Number of columns of the tile.
            lines: The lines that were packed.
            begin: Pulse row of the first bit.
        """
        columns, rows = words.columns(in_size), words.rows(in_size)
        chosen = columns if self.columns else rows
        starts = jnp.append(lines.starts, lines.total)
        word = begin + lax.broadcasted_iota(jnp.int32, (words.fires.shape[0], 1), 0) * BITS
        mask = below(starts[self.last][None, :] - word) & ~below(starts[self.first][None, :] - word)
        chosen = Words(self.narrow(chosen.fires, 1) & mask, self.narrow(chosen.negative, 1))
        if self.columns:
            columns = chosen
        else:
            rows = chosen
        joined = Words(*(jnp.concatenate(pair, axis=1) for pair in zip(columns, rows, strict=True)))
        return joined, columns.fires.shape[1]

    def row(self, fires: jax.Array, in_size: int, vector: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return which columns and which rows of the block fire, given all lines of one pulse row."""
        columns, rows = fires[:in_size], fires[in_size:]
        if self.columns:
            return self.narrow(columns, 0) & self.contains(vector), rows
        return columns, self.narrow(rows, 0) & self.contains(vector)

    def matrix(self, values: jax.Array, vector: jax.Array) -> jax.Array:
        """Return the block of an ``(out, in)`` array of ``vector``, zero where a line doesn't get it."""
        if self.columns:
            return jnp.where(self.contains(vector)[None, :], self.narrow(values, 1), 0)
        return jnp.where(self.contains(vector)[:, None], self.narrow(values, 0), 0)
