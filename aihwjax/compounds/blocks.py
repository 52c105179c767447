"""Some consecutive columns (or rows) of a tile: taken out, changed, and put back.

Transfers and refreshes touch one line of a tile at a time. A *slice* is such a line: a column, or
a row where a compound is told so. A block holds a few slices, in the orientation of the tile. The
digital side of a transfer has a *line* of numbers for each slice, one after the other in memory:
lines of a block are next to each other, which columns of a tile are not.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.random import Stream
from aihwjax.tile.pulsed_update.span import cut

_T = TypeVar("_T")


class Slices(NamedTuple):
    """The slices of a tile, and a block of them."""

    columns: bool
    """Whether a slice is a column, else a row."""
    shape: tuple[int, int]
    """Size of the tile, ``(out, in)``."""
    start: jax.Array
    """Index of the block's first slice."""
    size: int
    """Number of slices in the block."""

    @property
    def axis(self) -> int:
        """Axis of the tile along which slices are counted."""
        return 1 if self.columns else 0

    @property
    def block(self) -> tuple[int, int]:
        """Size of the block, ``(out, in)``."""
        return (self.shape[0], self.size) if self.columns else (self.size, self.shape[1])

    @property
    def all_lines(self) -> tuple[int, int]:
        """Size of an array with a line for each slice of the tile, ``(slices, crosspoints of each)``."""
        return slice_count(self.shape, self.columns)

    @property
    def number(self) -> jax.Array:
        """Index of each slice of the block, ``(size,)``."""
        return self.start + lax.iota(jnp.int32, self.size)

    @property
    def lines(self) -> tuple[int, int]:
        """Size of the block's lines, ``(size, crosspoints of each)``."""
        return (self.size, self.all_lines[1])

    def take(self, tree: _T) -> _T:
        """Return the block's part of every array of the tile's shape; other arrays stay as they are.

        The parts are cut out once: a compiler that fuses the cut into what follows would have to keep
        a copy of the whole array until then.
        """
        return lax.optimization_barrier(cut(tree, self.shape, self.start, self.size, self.axis))

    def put(self, tree: _T, block: _T) -> _T:
        """Put the block's part of every array of the tile's shape back; other arrays are taken from the block."""
        return _put(tree, block, self.shape, self.start, self.axis)

    def take_lines(self, tree: _T) -> _T:
        """Return the block's lines of every array with a line for each slice; other arrays stay as they are."""
        return cut(tree, self.all_lines, self.start, self.size, 0)

    def put_lines(self, tree: _T, block: _T) -> _T:
        """Put the block's lines back; arrays that are not of lines are taken from the block."""
        return _put(tree, block, self.all_lines, self.start, 0)

    def turned(self, values: jax.Array) -> jax.Array:
        """Turn a block into its lines, or lines into a block."""
        return values.T if self.columns else values

    def along(self, values: jax.Array) -> jax.Array:
        """Make a number for each slice, ``(size,)``, fit a block."""
        return values[None, :] if self.columns else values[:, None]


def _put(tree: _T, block: _T, shape: tuple[int, int], start: jax.Array, axis: int) -> _T:
    """Put parts of the arrays of ``shape`` back from ``start`` on; other arrays are taken from the block."""

    def whole(array: jax.Array, part: jax.Array) -> jax.Array:
        return part if array.shape != shape else lax.dynamic_update_slice_in_dim(array, part, start, axis)

    return jax.tree.map(whole, tree, block)


def slice_count(shape: tuple[int, int], columns: bool) -> tuple[int, int]:
    """Return the number of slices of a tile and the number of crosspoints of each."""
    out_size, in_size = shape
    return (in_size, out_size) if columns else (out_size, in_size)


def drawn_slice(count: int, stream: Stream, quirks: bool) -> jax.Array:
    """Draw the index of one of ``count`` slices.

    Args:
        count: Number of slices.
        stream: Randomness.
        quirks: Draw as the reference does, first and last slice about twice as often as the others.
    """

    def draw(name: str) -> jax.Array:
        return jnp.minimum(jnp.floor(stream.child(name).uniform(()) * count), count - 1).astype(jnp.int32)

    if not quirks:
        return draw("slice")

    # spec: compounds, bug 26: the bounds are tested on one draw and the result is another
    def below_last(name: str) -> jax.Array:
        return jnp.where(draw(f"{name} test") < count - 1, draw(f"{name} value"), count - 1)

    return jnp.where(below_last("first") > 0, below_last("second"), 0)
