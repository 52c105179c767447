"""Data that pass once through a model in evaluation, to change variables of a kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from aihwjax import random
from aihwjax.errors import DataError
from aihwjax.nn import watching
from aihwjax.nn.calling import call
from aihwjax.nn.variables import ModelState
from aihwjax.random import Noise

Batch: TypeAlias = Any
"""One input of a model, an array; or a pair of its arguments, ``(args, kwargs)``."""


def passed_all(
    kind: type[nnx.Variable[Any]],
    graph: nnx.GraphDef[Any],
    rest: ModelState,
    watched: ModelState,
    batches: Iterable[Batch],
    key: Noise,
) -> ModelState:
    """Return what variables of a model hold after it was called with all batches.

    Args:
        kind: The variables that are watched.
        graph: The model.
        rest: Its other variables.
        watched: These variables.
        batches: Inputs of the model, one after the other.
        key: Source of all noise.

    Raises:
        DataError: If there is no batch, or one is no input.
    """
    if isinstance(batches, jax.Array | np.ndarray):
        if batches.ndim < 2 or 0 in batches.shape:
            raise DataError(f"batches have shape {batches.shape}: give (batches, n, ...), with at least one of each")
        return _passed_loop(kind, graph, rest, watched, jnp.asarray(batches), random.plain(key))
    if isinstance(batches, str | bytes | Mapping) or not isinstance(batches, Iterable):
        raise DataError(f"batches={type(batches).__name__} is not allowed: give a list of inputs, or any iterable")
    number = -1
    for number, batch in enumerate(batches):
        known, arrays = _arguments(batch, number)
        watched = _passed(kind, graph, known, rest, watched, arrays, random.plain(random.derive(key, number)))
    if number < 0:
        raise DataError("batches has none: give at least one batch of inputs (an iterator may be used up)")
    return watched


class _Known(NamedTuple):
    """What of the arguments of a call is known before it is compiled."""

    tree: Any
    leaves: tuple[Any, ...]


def _arguments(batch: Batch, number: int) -> tuple[_Known, list[jax.Array]]:
    """Return the arguments of the model: what is known, and the arrays."""
    if isinstance(batch, jax.Array | np.ndarray):
        arguments: Any = ((batch,), {})
    elif (
        isinstance(batch, tuple | list)
        and len(batch) == 2
        and isinstance(batch[0], tuple | list)
        and isinstance(batch[1], Mapping)
    ):
        arguments = (tuple(batch[0]), dict(batch[1]))
    else:
        raise DataError(
            f"batch {number} is of type {type(batch).__name__}, which is not allowed: give an array, the input of the "
            "model, or a pair (args, kwargs) of its arguments, such as ((x,), {}); of data (x, y) give x"
        )
    leaves, tree = jax.tree.flatten(arguments)
    moving = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    known = tuple(None if moves else (leaf,) for moves, leaf in zip(moving, leaves, strict=True))
    return _Known(tree, known), [jnp.asarray(leaf) for moves, leaf in zip(moving, leaves, strict=True) if moves]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _passed(
    kind: type[nnx.Variable[Any]],
    graph: nnx.GraphDef[Any],
    known: _Known,
    rest: ModelState,
    watched: ModelState,
    arrays: list[jax.Array],
    key: Noise,
) -> ModelState:
    """Return what the variables hold after one call."""
    given = iter(arrays)
    leaves = [next(given) if leaf is None else leaf[0] for leaf in known.leaves]
    args, kwargs = jax.tree.unflatten(known.tree, leaves)
    model = nnx.merge(graph, watched, rest, copy=True)
    with watching.active():
        call(model, *args, key=key, **kwargs)
    return nnx.state(model, kind)


@partial(jax.jit, static_argnums=(0, 1))
def _passed_loop(
    kind: type[nnx.Variable[Any]],
    graph: nnx.GraphDef[Any],
    rest: ModelState,
    watched: ModelState,
    batches: Float[Array, "batches n ..."],
    key: Noise,
) -> ModelState:
    known = _arguments(batches[0], 0)[0]

    def turn(watched: ModelState, numbered: tuple[jax.Array, jax.Array]) -> tuple[ModelState, None]:
        number, x = numbered
        return _passed(kind, graph, known, rest, watched, [x], random.plain(random.derive(key, number))), None

    return lax.scan(turn, watched, (jnp.arange(batches.shape[0]), batches))[0]
