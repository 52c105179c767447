"""How the matrix of a layer lies on several tiles, as stacks of equal ones (spec: tile_ops, section 16).

A matrix ``(groups * rows, columns)`` is cut both ways into parts that differ by at most one line, larger ones first.
So there are at most two heights and two widths, and the tiles of one height and width are a regular part of the
matrix: a stack. Its tiles are in the order group, part of the inputs, part of the outputs.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from aihwjax.nn.mapping import parts

_ONE_BY_ONE = 16
"""Parts whose sum is written out."""
_one_program = functools.partial(jax.jit, static_argnums=0)  # layers are made, called and read eagerly, too


class Lines(NamedTuple):
    """Parts of equal size that lie beside each other."""

    size: int
    """Lines of each part."""
    number: int
    """Number of parts."""
    start: int
    """Line at which the first begins."""

    @property
    def all(self) -> slice:
        """Their lines."""
        return slice(self.start, self.start + self.size * self.number)


class Place(NamedTuple):
    """Where a stack lies in the matrix of each group."""

    inputs: Lines
    """Its columns."""
    outputs: Lines
    """Its rows."""


@dataclass(frozen=True)
class TileGrid:
    """The tiles of a matrix ``(groups * rows, columns)``; static."""

    rows: int
    """Rows of each group."""
    columns: int
    """Columns."""
    groups: int
    """Number of groups, whose matrices lie below each other; each has columns of the inputs of its own."""
    most_rows: int
    """Most rows of a tile; 0 or less: no limit."""
    most_columns: int
    """Most columns of a tile; 0 or less: no limit."""

    @property
    def in_parts(self) -> tuple[int, ...]:
        """Columns of each part."""
        return parts(self.columns, self.most_columns)

    @property
    def out_parts(self) -> tuple[int, ...]:
        """Rows of each part of a group."""
        return parts(self.rows, self.most_rows)

    @property
    def stacks(self) -> tuple[Place, ...]:
        """The stacks: those of the first width, then those of the second."""
        return tuple(Place(*place) for place in itertools.product(_equal(self.in_parts), _equal(self.out_parts)))

    @property
    def one(self) -> bool:
        """Whether there is one tile only."""
        return self.groups * len(self.in_parts) * len(self.out_parts) == 1

    def count(self, place: Place) -> int:
        """Return the number of tiles of a stack."""
        return self.groups * place.inputs.number * place.outputs.number

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def input(self, index: int, x: Float[Array, "n columns"]) -> Float[Array, "*tiles n in"]:
        """Return what a stack receives, ``(tiles, n, in)``; one tile ``(n, in)``.

        Args:
            index: Which stack.
            x: Inputs of all groups ``(n, groups * columns)``.
        """
        place, by_group = self.stacks[index], x.reshape(x.shape[0], self.groups, self.columns)
        size, across, _ = place.inputs
        own = by_group[..., place.inputs.all].reshape(x.shape[0], self.groups, across, size)
        own = jnp.moveaxis(own, 0, 2)[:, :, None]
        own = jnp.broadcast_to(own, (self.groups, across, place.outputs.number, x.shape[0], size))
        return self._stacked(place, own)

    @_one_program
    def outputs(self, y: Sequence[jax.Array]) -> Float[Array, "n rows"]:
        """Return the outputs ``(n, groups * rows)``: sums over the parts of the inputs.

        Args:
            y: What each stack returned, ``(tiles, n, out)``; one tile ``(n, out)``.
        """
        each, count = [], y[0].shape[-2]
        for place, own in zip(self.stacks, y, strict=True):
            size, down, _ = place.outputs
            each.append(_sum_of_parts(own.reshape(self.groups, place.inputs.number, down, count, size)))
        heights = []
        for first in range(self._heights):
            total = sum(each[first + self._heights :: self._heights], each[first])  # (groups, parts, n, size)
            total = jnp.moveaxis(total, 2, 0)
            heights.append(total.reshape(count, self.groups, total.shape[2] * total.shape[3]))
        return jnp.concatenate(heights, axis=-1).reshape(count, self.groups * self.rows)

    @_one_program
    def cut(self, matrix: Num[Array, "rows columns"]) -> list[jax.Array]:
        """Return the part of a matrix for each stack, ``(tiles, out, in)``; for one tile ``(out, in)``.

        A group that is one tile may have one more column, that of an analog bias.
        """
        found, by_group = [], matrix.reshape(self.groups, -1, matrix.shape[-1])
        for place in self.stacks:
            own = by_group[:, place.outputs.all, self._columns(place)]
            own = own.reshape(self.groups, place.outputs.number, place.outputs.size, place.inputs.number, -1)
            found.append(self._stacked(place, own.transpose(0, 3, 1, 2, 4)))
        return found

    @_one_program
    def assembled(self, arrays: Sequence[jax.Array]) -> Num[Array, "rows columns"]:
        """Return one array of the size of the matrix, given those of the stacks: the reverse of :meth:`cut`."""
        each = []
        for place, own in zip(self.stacks, arrays, strict=True):
            size, down, _ = place.outputs
            own = own.reshape(self.groups, place.inputs.number, down, size, -1).transpose(0, 2, 3, 1, 4)
            each.append(own.reshape(self.groups, down * size, -1))
        widths = [
            jnp.concatenate(each[first : first + self._heights], axis=1) for first in range(0, len(each), self._heights)
        ]
        whole = jnp.concatenate(widths, axis=2)
        return whole.reshape(-1, whole.shape[-1])

    @property
    def _heights(self) -> int:
        return len(_equal(self.out_parts))

    def _columns(self, place: Place) -> slice:
        return slice(None) if len(self.in_parts) == 1 else place.inputs.all

    def _stacked(self, place: Place, own: jax.Array) -> jax.Array:
        """Return an array ``(groups, in parts, out parts, a, b)`` as ``(tiles, a, b)``; for one tile ``(a, b)``."""
        count = self.count(place)
        return own.reshape(*(() if count == 1 else (count,)), *own.shape[3:])


def _equal(sizes: tuple[int, ...]) -> list[Lines]:
    """Return the parts of equal size."""
    found, start = [], 0
    for size, group in itertools.groupby(sizes):
        lines = Lines(size, len(list(group)), start)
        found.append(lines)
        start = lines.all.stop
    return found


def _sum_of_parts(y: Float[Array, "groups parts down n size"]) -> Float[Array, "groups down n size"]:
    """Return the sum over the second axis; of a few parts one by one, which a CPU adds at a third of the time."""
    if y.shape[1] > _ONE_BY_ONE:
        return y.sum(axis=1)
    return functools.reduce(operator.add, (y[:, part] for part in range(y.shape[1])))
