"""Equal tiles of one layer as a stack: one program that all of them go through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, UInt32
from jaxtyping import Key as Keys

from aihwjax import random
from aihwjax.random import Noise

_T = TypeVar("_T")

TileNoise: TypeAlias = Noise | Keys[Array, " tiles"] | UInt32[Array, "tiles words"]
"""A source of randomness of a tile, or of each tile of a stack."""

# On a CPU tiles below this many numbers in their largest array go through together: one by one, starting takes longer
_TOGETHER = 2**13


def each(
    count: int | None,
    function: Callable[..., _T],
    options: tuple[Any, ...],
    shared: tuple[Any, ...],
    own: tuple[Any, ...],
) -> _T:
    """Return ``function(*options, *shared, *own)`` for one tile, or what it returns for each tile of a stack.

    A tile gets the same as it would alone. On a CPU large tiles take turns, so that none waits for the pulses of
    another; elsewhere all go at once.

    Args:
        count: Number of tiles; ``None``: one, without an axis for it.
        function: A function of a module, for one tile.
        options: Its first arguments; hashable, the program depends on them.
        shared: Arguments that all tiles share.
        own: Arguments of each tile: pytrees of arrays with the tiles as first axis.
    """
    if count is None:
        return function(*options, *shared, *own)
    return _each(function, options, shared, own)


@partial(jax.jit, static_argnums=(0, 1))
def _each(function: Callable[..., _T], options: tuple[Any, ...], shared: tuple[Any, ...], own: tuple[Any, ...]) -> _T:
    def one(own: tuple[Any, ...]) -> _T:
        return function(*options, *shared, *own)

    arrays = jax.tree.leaves(own)
    count = arrays[0].shape[0]
    at_once = _at_once(count, max(array.size // count for array in arrays))
    if at_once == count:
        return jax.vmap(one)(own)
    return lax.map(one, own, batch_size=None if at_once == 1 else at_once)


def _at_once(count: int, size: int) -> int:
    """Return how many tiles go together: a divisor of their number."""
    if jax.default_backend() != "cpu":
        return count
    most = max(1, _TOGETHER // max(size, 1))
    return max(n for n in range(1, min(count, most) + 1) if count % n == 0)


def keys(key: Noise, count: int | None) -> TileNoise:
    """Return the key of each tile of a stack, an array of them; for one tile the key itself.

    Args:
        key: Source of all.
        count: Number of tiles, or ``None`` for one.
    """
    if count is None:
        return key
    return jax.vmap(lambda index: random.derive(key, index))(jnp.arange(count, dtype=jnp.uint32))


def rows(array: Float[Array, "*batch size"], count: int | None) -> Float[Array, "*stack n size"]:
    """Return vectors of a tile as ``(n, size)``, those of a stack as ``(count, n, size)``.

    Args:
        array: Vectors ``(..., size)``; of a stack ``(..., count, n, size)``, with axes of loops in front.
        count: Number of tiles, or ``None`` for one.
    """
    if count is None:
        return array.reshape(-1, array.shape[-1])
    return jnp.moveaxis(array, -3, 0).reshape(count, -1, array.shape[-1])
