"""Images on their way to the tiles of a convolution: they stay images, and are unfolded where their patches are needed.

Patches take as many times the memory of the images as the kernel has elements. So slots and gradients keep images, and
a product or an update whose patches would be too large unfolds some of the images after the others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from aihwjax import arguments
from aihwjax.loops import once
from aihwjax.nn.grid import TileGrid
from aihwjax.nn.stacks import rows
from aihwjax.nn.unfolding import Window, unfolded

PATCH_MEMORY = 256 * 2**20
"""Default of the most bytes that patches take at a time."""


class View(NamedTuple):
    """How the inputs of a tile, or a stack of tiles, are cut out of images; static."""

    window: Window
    """How the kernel moves."""
    padding: str | tuple[tuple[int, int], ...]
    """What the images are padded with, from :func:`aihwjax.nn.unfolding.check_padding`."""
    widening: tuple[int, ...]
    """Distance between the lines of an image: 1, or the strides of a transposed convolution."""
    grid: TileGrid
    """The tiles of the layer."""
    stack: int
    """Which of its stacks."""
    memory: int
    """Most bytes of the patches that are made at a time; those of one image are always."""

    @property
    def sight(self) -> tuple[Window, str | tuple[tuple[int, int], ...], tuple[int, ...]]:
        """What the patches themselves depend on."""
        return self.window, self.padding, self.widening


@arguments.answering
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Patches:
    """The inputs of a tile as images and how it sees them.

    Raises:
        ShapeError: If an image is smaller than the kernel (when patches are made).
    """

    images: Float[Array, "*n space channels"]
    """Images ``(n, ..., channels)``; from a loop with more axes in front."""
    view: View = dataclasses.field(metadata={"static": True})
    """How they are seen."""

    def rows(self) -> Float[Array, "*stack n in"]:
        """Return all patches as the tile receives them, ``(n, in)``; a stack's ``(tiles, n, in)``."""
        return self._as_input(_unfolded(self.view, self.images))

    @property
    def places(self) -> tuple[int, ...]:
        """Outputs along each spatial axis."""
        return self._seen(self.images).shape[1:-1]

    @property
    def length(self) -> int:
        """Number of patches that each tile receives."""
        return self.images.shape[0] * math.prod(self.places)

    @property
    def width(self) -> int:
        """Inputs of a tile."""
        return self.view.grid.stacks[self.view.stack].inputs.size

    def flat(self) -> Patches:
        """Return the images of all steps of a loop as one batch."""
        own = self.images.shape[-1 - len(self.view.window.kernel) :]
        return dataclasses.replace(self, images=self.images.reshape(-1, *own))

    @property
    def parts(self) -> int:
        """Number of parts in which the images are unfolded: equal ones, as few as fit into the memory.

        Of a number of images that is not known (``jax.export``) one.
        """
        count = self.images.shape[0]
        if not isinstance(count, int) or count == 0:
            return 1
        each = self._seen(self.images).size // count * 4
        most = max(1, min(count, self.view.memory // max(each, 1)))
        return count // max(n for n in range(1, most + 1) if count % n == 0)

    def fold(self, rows: Float[Array, "*stack n in"]) -> Patches:
        """Return the transposed map: to each number of an image the sum of what came back from where it was seen."""
        like = jax.ShapeDtypeStruct(self._seen(self.images).shape, self.images.dtype)
        (seen,) = jax.linear_transpose(self._as_input, like)(rows)
        return dataclasses.replace(self, images=_folded(self.view, self.images.shape, seen))

    def part(self, number: Int[Array, ""], parts: int) -> Patches:
        """Return one of so many parts."""
        size = self.images.shape[0] // parts
        return dataclasses.replace(self, images=lax.dynamic_slice_in_dim(self.images, number * size, size))

    def _as_input(self, seen: jax.Array) -> jax.Array:
        return self.view.grid.input(self.view.stack, seen.reshape(-1, seen.shape[-1]))

    def _seen(self, images: jax.Array) -> jax.ShapeDtypeStruct:
        like = jax.ShapeDtypeStruct(images.shape, jnp.float32)
        return jax.eval_shape(lambda images: unfolded(images, *self.view.sight), like)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _unfolded(view: View, images: Float[Array, "n *space channels"]) -> Float[Array, "n *places features"]:
    """Return what the kernel sees, made once on a CPU, where XLA would look it up anew for each use."""
    return _apart(lambda images: unfolded(images, *view.sight, by_index=True), images)


@_unfolded.defjvp
def _(view: View, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """It is linear: the derivative is the same map, of slices, whose transposed map is quick."""
    return _unfolded(view, *primals), unfolded(*tangents, *view.sight)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _folded(
    view: View, shape: tuple[int, ...], seen: Float[Array, "n *places features"]
) -> Float[Array, "n *space channels"]:
    """Return the transposed map, made once on a CPU, where XLA would add it up anew for each use.

    The derivative of a pool behind the layer, for example, uses each number of an image four times.
    """
    return _apart(partial(_sum_of_patches, view, shape), seen)


@_folded.defjvp
def _(
    view: View, shape: tuple[int, ...], primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """It is linear."""
    return _folded(view, shape, *primals), _sum_of_patches(view, shape, *tangents)


def _sum_of_patches(
    view: View, shape: tuple[int, ...], seen: Float[Array, "n *places features"]
) -> Float[Array, "n *space channels"]:
    like = jax.ShapeDtypeStruct(shape, seen.dtype)
    return jax.linear_transpose(lambda images: unfolded(images, *view.sight), like)(seen)[0]


def _apart(make: Callable[[jax.Array], jax.Array], array: jax.Array) -> jax.Array:
    """Return ``make(array)``; on a CPU it is not mixed into what uses it."""

    def kept(array: jax.Array) -> jax.Array:
        like = jax.eval_shape(make, array)
        due = lax.optimization_barrier(jnp.ones((), bool))  # else the compiler takes the loop away
        return once(due, lambda due, _: make(lax.optimization_barrier((array, due))[0]), jnp.zeros_like(like))

    return lax.platform_dependent(array, cpu=kept, default=make)


def all_rows(x: Float[Array, "*n in"] | Patches) -> Float[Array, "*n in"]:
    """Return the vectors that a tile receives, whether they come as such or as images."""
    return x.rows() if isinstance(x, Patches) else x


def row_part(
    array: Shaped[Array, "*stack n size"], number: Int[Array, ""], parts: int
) -> Shaped[Array, "*stack m size"]:
    """Return one of so many parts of vectors ``(..., n, size)``, those of :meth:`Patches.part`."""
    size = array.shape[-2] // parts
    return lax.dynamic_slice_in_dim(array, number * size, size, axis=-2)


def joined_rows(array: Shaped[Array, "parts *stack n size"]) -> Shaped[Array, "*stack m size"]:
    """Return the vectors of all parts, whose axis is the first, as one array."""
    moved = jnp.moveaxis(array, 0, -3)
    return moved.reshape(*moved.shape[:-3], -1, moved.shape[-1])


_S = TypeVar("_S")


def in_parts(
    update: Callable[[_S, Int[Array, ""], jax.Array, jax.Array], _S],
    state: _S,
    x: Patches,
    d: Float[Array, "*stack n out"],
) -> _S:
    """Return the state after an update by each part of the images.

    Args:
        update: Takes the state, the number of the part, and x and d of the part.
        state: The state before.
        x: The images.
        d: Gradients of all patches.
    """
    parts = x.parts

    def one_part(state: _S, number: Int[Array, ""]) -> tuple[_S, None]:
        return update(state, number, x.part(number, parts).rows(), row_part(d, number, parts)), None

    return lax.scan(one_part, state, jnp.arange(parts))[0]


def together(calls: Sequence[Float[Array, "*n in"] | Patches], count: int | None) -> Float[Array, "*m in"] | Patches:
    """Return what a tile received in several calls as one batch: images if all are of one size, else vectors.

    Args:
        calls: What it received, from loops with more axes in front.
        count: Number of tiles of a stack, or ``None`` for one.
    """
    flat = [x.flat() if isinstance(x, Patches) else x for x in calls]
    images = [x for x in flat if isinstance(x, Patches)]
    if len(images) == len(flat) and len({(x.view, x.images.shape[1:]) for x in images}) == 1:
        return dataclasses.replace(images[0], images=jnp.concatenate([x.images for x in images]))
    vectors = [rows(all_rows(x), count) for x in flat]
    return vectors[0] if len(vectors) == 1 else jnp.concatenate(vectors, axis=-2)
