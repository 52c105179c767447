"""The places of a model that can be given numbers: weights on tiles, and digital variables."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from aihwjax import random
from aihwjax.errors import NonFiniteError, ShapeError
from aihwjax.nn.call_keys import CallKey
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.mapping import changed_entries
from aihwjax.nn.paths import path_text
from aihwjax.nn.variables import ChipVariable, TileConfigVariable, TileVariable
from aihwjax.random import Noise

_OF_LAYER = ("tiles", "bias", "bias_quantizer", "output_quantizer")
"""Parts of an analog layer that are written by it."""
_CLOSED = (TileVariable, TileConfigVariable, ChipVariable, CallKey, nnx.RngState)


class Spot(NamedTuple):
    """One place."""

    shape: tuple[int, ...]
    """Shape of the numbers there, with the axes of a stack of layers in front."""
    stack: tuple[int, ...]
    """The axes of the stack."""
    others: tuple[tuple[int, ...], ...]
    """Other shapes, without those axes, of the same numbers in the same order."""
    wanted: bool
    """Whether it is told if it is not given any."""
    variable: nnx.Variable[Any] | None
    """The variable; ``None``: on tiles, or the bias of an analog layer."""

    def fitted(self, name: str, array: np.ndarray, of_one: bool) -> np.ndarray:
        """Return an array in the shape and type of the place.

        Args:
            name: What it is called, for errors.
            array: The array.
            of_one: Whether it is for one of the stacked layers.

        Raises:
            ShapeError: If it does not fit.
            NonFiniteError: If it has NaN or infinity.
        """
        front = () if of_one else self.stack
        shape = self.shape[len(self.stack) :] if of_one else self.shape
        if array.shape != shape and array.shape not in [(*front, *other) for other in self.others]:
            raise ShapeError(f"{name} has shape {array.shape}, the model has {shape}")
        kind = np.dtype(np.float32) if self.variable is None else np.dtype(self.variable.get_value().dtype)
        if jnp.issubdtype(array.dtype, jnp.floating):
            if not jnp.issubdtype(kind, jnp.floating):
                raise ShapeError(f"{name} has type {array.dtype}, the model has {kind}")
            if not np.isfinite(array.astype(np.float32)).all():
                raise NonFiniteError(f"{name} has NaN or infinity")
        return array.reshape(shape).astype(kind)


def spots(model: nnx.Module) -> dict[str, Spot]:
    """Return the places of a model by path, in its order.

    An analog layer has ``weights`` (the matrix on its tiles, ``(out, columns)``) and, if it has one, ``bias``.

    Args:
        model: Any NNX module.
    """
    found: dict[str, Spot] = {}
    layers = [path for path, module in nnx.iter_modules(model) if isinstance(module, AnalogLayer)]
    for path, node in nnx.iter_graph(model):
        if isinstance(node, AnalogLayer):
            found.update(_of_layer(path_text(path), node))
        inside = any((*layer, own) == path[: len(layer) + 1] for layer in layers for own in _OF_LAYER)
        if isinstance(node, nnx.Variable) and not isinstance(node, _CLOSED) and not inside:
            array = node.get_value()
            if isinstance(array, jax.Array) and not jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
                wanted = isinstance(node, nnx.Param | nnx.BatchStat)
                found[path_text(path)] = Spot(array.shape, (), (), wanted, node)
    return found


def joined(path: str, name: str) -> str:
    """Return the place ``name`` of the layer at ``path``; the model itself is ``model``."""
    return name if path == "model" else f"{path}/{name}"


def _of_layer(path: str, layer: AnalogLayer) -> dict[str, Spot]:
    stack = layer.stacked()
    others: list[tuple[int, ...]] = []
    vectors: list[tuple[int, ...]] = []
    kernel = getattr(layer, "kernel_size", None)
    if kernel is not None:  # torch has the same numbers in the same order
        others.append((layer.rows, layer.columns // math.prod(kernel), *kernel))
    for sizes in (layer.out_features, getattr(layer, "bias_shape", None)):
        if isinstance(sizes, tuple):
            vectors.append(sizes)
    matrix = Spot((*stack, layer.rows, layer.columns), stack, tuple(others), True, None)
    places = {joined(path, "weights"): matrix}
    if layer.bias is not None or layer.analog_bias:
        places[joined(path, "bias")] = Spot((*stack, layer.rows), stack, tuple(vectors), True, None)
    return places


def write(layer: AnalogLayer, weights: np.ndarray | None, bias: np.ndarray | None, key: Noise) -> Int[Array, ""]:
    """Write weights and bias to a layer, or to a stack of them; what is not given stays.

    Args:
        layer: The layer.
        weights: Matrix ``(..., out, columns)``.
        bias: Vector ``(..., out)``.
        key: Source of write noise.

    Returns:
        How many weights the devices do not hold as they were given.
    """
    if weights is None and layer.bias is not None:  # a digital one: the tiles stay as they are
        layer.bias.set_value(jnp.asarray(bias))
        return jnp.zeros((), jnp.int32)
    kept = bias is None and layer.analog_bias

    def one(layer: Any, weights: Any, bias: Any, key: Any) -> jax.Array:
        if weights is None or kept:
            old, held = layer.get_weights()
            weights, bias = old if weights is None else weights, held if kept else bias
        layer.set_weights(weights, bias, key=key, check_finite=False)
        return changed_entries(weights, layer.get_weights()[0])

    noise, stack = random.plain(key), layer.stacked()
    apply: Any = one
    for _ in stack:
        apply = nnx.vmap(apply)
    given = [None if array is None else jnp.asarray(array) for array in (weights, bias)]
    return jnp.sum(apply(layer, *given, jax.random.split(noise, stack) if stack else noise))
