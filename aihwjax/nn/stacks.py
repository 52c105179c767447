"""Equal tiles of one layer as a stack: one program that all of them go through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Jaxpr, Literal, jaxpr_as_fun
from jaxtyping import Array, Float, UInt32
from jaxtyping import Key as Keys

from aihwjax import random
from aihwjax.random import Noise

_T = TypeVar("_T")

TileNoise: TypeAlias = Noise | Keys[Array, " tiles"] | UInt32[Array, "tiles words"]
"""A source of randomness of a tile, or of each tile of a stack."""

# On a CPU tiles below this many numbers in their largest array go through together: one by one, starting takes longer
_TOGETHER = 2**13
# Steps of a program that call another with the same arguments
_CALLS = ("jit", "pjit", "custom_jvp_call", "closed_call")


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
    # a batch of any length has no size (jax.export)
    at_once = _at_once(count, max(array.size // count for array in arrays if isinstance(array.size, int)))
    if at_once == count:
        return jax.vmap(one)(own)
    if at_once == 1:
        return _in_turn(one, own, count)
    return lax.map(one, own, batch_size=at_once)


def _in_turn(one: Callable[[tuple[Any, ...]], _T], own: tuple[Any, ...], count: int) -> _T:
    """Return what a function returns for each tile; a state is changed in place, and only where it changes.

    A map would cut out and put together again all parameters of the devices, which takes longer than a product.
    """
    slices = jax.tree.map(lambda array: array[0], own)
    closed, shapes = jax.make_jaxpr(one, return_shape=True)(slices)
    outputs, tree = jax.tree.leaves(shapes), jax.tree.structure(shapes)
    if tree != jax.tree.structure(own[0]):  # type: ignore[operator]
        return lax.map(one, own)
    run, leaves = jaxpr_as_fun(closed), jax.tree.leaves(own)
    sources = _sources(closed.jaxpr)
    changed = [place for place, source in enumerate(sources) if source is None]

    def place_of(output: int) -> jax.Array:
        now, like = leaves[output], outputs[output]
        same = now.shape[1:] == like.shape and now.dtype == like.dtype
        return now if same else jnp.zeros((count, *like.shape), like.dtype)

    def one_tile(number: jax.Array, now: list[jax.Array]) -> list[jax.Array]:
        present = dict(zip(changed, now, strict=True))
        parts = [lax.dynamic_index_in_dim(present.get(at, leaf), number, keepdims=False) for at, leaf in whole]
        results = run(*parts)
        pairs = zip(now, changed, strict=True)
        return [lax.dynamic_update_index_in_dim(array, results[place], number, 0) for array, place in pairs]

    whole = list(enumerate(leaves))
    new = dict(zip(changed, lax.fori_loop(0, count, one_tile, [place_of(at) for at in changed]), strict=True))
    return jax.tree.unflatten(
        tree, [new[at] if source is None else leaves[source] for at, source in enumerate(sources)]
    )


def _sources(jaxpr: Jaxpr) -> list[int | None]:
    """Return for each output of a program which of its inputs it is, through the functions that it calls."""
    made = {out: (eqn, number) for eqn in jaxpr.eqns for number, out in enumerate(eqn.outvars)}
    places = {var: place for place, var in enumerate(jaxpr.invars)}
    known: dict[int, list[int | None]] = {}

    def source(var: Any) -> int | None:
        while not isinstance(var, Literal):
            if var in places:
                return places[var]
            if var not in made:
                return None
            eqn, number = made[var]
            inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")) if eqn.primitive.name in _CALLS else None
            if inner is None:
                return None
            if id(eqn) not in known:
                known[id(eqn)] = _sources(inner.jaxpr)
            place = known[id(eqn)][number]
            if place is None:
                return None
            var = eqn.invars[place]
        return None

    return [source(var) for var in jaxpr.outvars]


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
