"""The gradient of many examples a part at a time: memory for a part, one update for all of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from aihwjax import random
from aihwjax.arguments import answered
from aihwjax.errors import ModuleError
from aihwjax.nn.gradients import Gradients, Pair, value_and_grad
from aihwjax.nn.patches import together
from aihwjax.nn.paths import analog_tiles
from aihwjax.nn.product import TileInput
from aihwjax.nn.stacks import rows
from aihwjax.nn.variables import ModelState, TileConfigVariable
from aihwjax.random import Noise

Batch: TypeAlias = tuple[Any, ...]
"""Pytrees of arrays, the arguments of a loss between model and key."""


@answered
def accumulate(loss_fn: Callable[..., Float[Array, ""]]) -> Callable[..., tuple[Float[Array, ""], Gradients]]:
    """Return a function that computes the mean of a loss over micro-batches, and its gradients.

    As :func:`aihwjax.nn.value_and_grad` of one batch with all examples, for a loss that is a mean over them, but only
    one micro-batch is in memory at a time: x and d of all micro-batches go into one update of each tile. What a forward
    pass changes in the model, such as batch statistics, changes with each micro-batch.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from aihwjax.nn import AnalogLinear
        >>> layer = AnalogLinear(4, 3, rngs=nnx.Rngs(0))
        >>> def loss(layer, x, key):
        ...     return (layer(x, key=key) ** 2).mean()
        >>> _, gradients = accumulate(loss)(layer, jax.numpy.ones((2, 5, 4)), jax.random.key(1))
        >>> {path: (x.shape, d.shape) for path, (x, d) in gradients.analog.items()}
        {'tiles/0': ((10, 4), (10, 3))}

    Args:
        loss_fn: ``loss_fn(model, *batch, key)``; returns one number.

    Returns:
        A function ``(model, *batches, key) -> (loss, gradients)``; arrays of ``batches`` have the micro-batches along
        their first axis, ``(micro-batches, n, ...)``. It raises :class:`ModuleError` as
        :func:`aihwjax.nn.value_and_grad`, or if the number of micro-batches differs.
    """

    @functools.wraps(loss_fn)
    def compute(model: nnx.Module, *batches_and_key: Any) -> tuple[Float[Array, ""], Gradients]:
        *batches, key = batches_and_key
        counts = {jnp.shape(array)[:1] for array in jax.tree.leaves(batches)}
        if len(counts) != 1 or counts & {(), (0,)}:
            raise ModuleError(
                f"arrays of micro-batches have the first axes {sorted(counts)}: give (micro-batches, n, ...) for all"
            )
        count = next(iter(counts))[0]

        def share(*arguments: Any) -> jax.Array:
            return loss_fn(*arguments) / count

        return summed(share)(model, [tuple(batches)], key)

    return compute


def summed(
    loss_fn: Callable[..., Float[Array, ""]],
) -> Callable[[nnx.Module, Sequence[Batch], Noise], tuple[Float[Array, ""], Gradients]]:
    """Return a function that computes the sum of a loss over micro-batches, and its gradients.

    Args:
        loss_fn: ``loss_fn(model, *batch, key)``; returns one number, the share of a micro-batch.

    Returns:
        A function ``(model, groups, key) -> (loss, gradients)``. Micro-batches of one size are a group, with the
        micro-batches along the first axis of its arrays.
    """
    gradient = value_and_grad(loss_fn)

    def compute(model: nnx.Module, groups: Sequence[Batch], key: Noise) -> tuple[Float[Array, ""], Gradients]:
        graph, *states = nnx.split(model, TileConfigVariable, ...)
        fixed, moving = states

        def part(carry: Any, inputs: tuple[jax.Array, Batch]) -> tuple[Any, Any]:
            (moving, digital, weights), (index, batch) = carry, inputs
            copy = nnx.merge(graph, fixed, moving, copy=True)
            loss, gradients = gradient(copy, *batch, random.derive(key, index))
            moving = nnx.split(copy, TileConfigVariable, ...)[-1]
            digital = jax.tree.map(jnp.add, digital, gradients.digital)
            weights = {path: each + gradients.weights.get(path, 0.0) for path, each in weights.items()}
            return (moving, digital, weights), (loss, gradients.analog)

        digital: ModelState = jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.Param))
        tiles = analog_tiles(model)
        weights = {
            path: jnp.zeros_like(tile.state.get_value().weights)
            for path, tile in tiles.items()
            if tile.config.get_value().differentiated
        }
        carry, losses, done = (moving, digital, weights), [], 0
        found: list[dict[str, Pair]] = []
        for group in groups:
            count = jax.tree.leaves(group)[0].shape[0]
            numbers = jnp.arange(done, done + count, dtype=jnp.uint32)
            carry, (shares, pairs) = lax.scan(part, carry, (numbers, group))
            losses.append(shares.sum())
            found.append({path: _flat(*pair, count=tiles[path].count) for path, pair in pairs.items()})
            done += count
        moving, digital, weights = carry
        nnx.update(model, moving)
        analog = {path: _all([pairs[path] for pairs in found], tiles[path].count) for path in found[0]}
        return jnp.stack(losses).sum(), Gradients(digital, analog, weights)

    return compute


def _flat(x: TileInput, d: Float[Array, "*steps out"], *, count: int | None) -> Pair:
    """Return x and d of all micro-batches as one batch."""
    return together([x], count), rows(d, count)


def _all(pairs: list[Any], count: int | None) -> Pair:
    """Return x and d of all groups as one batch."""
    return together([x for x, _ in pairs], count), jnp.concatenate([d for _, d in pairs], axis=-2)
