"""How a layer of Flax goes to tiles and comes back, and when it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aihwjax.nn.dtypes import NAMES
from aihwjax.nn.layer import AnalogLayer, Start
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key


@dataclass(frozen=True)
class Counterpart:
    """How layers of one class go to tiles and back; arrays are those of one layer, not of a stack."""

    analog: type[AnalogLayer]
    """The analog layer."""
    shape: Callable[[Any], tuple[int, ...]]
    """Shape of a kernel."""
    problem: Callable[[Any], str]
    """Why a layer cannot be converted, besides what :func:`own_problem` finds; empty if it can."""
    build: Callable[[Any, TileConfig, Key, Start], AnalogLayer]
    """Make the analog layer with matrix and bias."""
    matrix: Callable[[Any, jax.Array], jax.Array]
    """Turn a kernel into the matrix on the tiles."""
    digital: Callable[[Any], nnx.Module]
    """Make the layer of Flax, with zeros as weights."""
    kernel: Callable[[Any, jax.Array], jax.Array]
    """Turn the matrix on the tiles into a kernel."""
    digital_parts: tuple[str, ...] = ()
    """Modules of a layer that stay as they are, on both ways."""


def stack_of(counterpart: Counterpart, layer: Any) -> tuple[int, ...]:
    """Return the leading axes of a stack of layers, such as ``nnx.vmap`` makes; ``()`` for one layer."""
    shape = layer.kernel.get_value().shape
    return shape[: len(shape) - len(counterpart.shape(layer))]


def own_problem(counterpart: Counterpart, layer: Any) -> str:
    """Say why a layer cannot be converted because of its own values; empty if it can.

    Args:
        counterpart: Of its class.
        layer: The layer, or a stack of them.
    """
    if not isinstance(getattr(layer, "kernel", None), nnx.Variable):
        return "its kernel is no nnx.Variable"
    problem = counterpart.problem(layer)
    if problem:
        return problem
    kernel, wanted = layer.kernel.get_value(), counterpart.shape(layer)
    if isinstance(kernel, jax.ShapeDtypeStruct):
        return "its kernel has a shape but no numbers"
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        return f"its kernel is of {kernel.dtype}"
    if tuple(kernel.shape[len(kernel.shape) - len(wanted) :]) != wanted:
        return f"its kernel has the shape {tuple(kernel.shape)}, its arguments say {wanted}"
    stack = stack_of(counterpart, layer)
    if layer.bias is not None and layer.bias.get_value().shape[: len(stack)] != stack:
        return "its kernel is stacked and its bias is not"
    mask = getattr(layer, "mask", None)
    return "" if mask is None or mask.shape == wanted else f"its mask has the shape {mask.shape}, its kernel {wanted}"


def own_product(layer: Any) -> str:
    """Name a product of its own, which the tile would not do."""
    standard = getattr(layer, "dot_general", None) in (None, jax.lax.dot_general)
    return "" if standard and getattr(layer, "dot_general_cls", None) is None else "it has a dot_general of its own"


def analog(layer: Any, config: TileConfig, key: Key, start: Start) -> dict[str, Any]:
    """Return what all analog layers take: tiles, matrix and bias, and the types of a layer of Flax."""
    return {"config": config, "weights": start, "rngs": nnx.Rngs(params=key), **_types(layer)}


def _types(layer: Any) -> dict[str, Any]:
    """Return the types of outputs and weights of a layer of Flax, as far as an analog one knows them."""
    kernel = jnp.dtype(layer.kernel.get_value().dtype).name
    wanted = None if layer.dtype is None else jnp.dtype(layer.dtype).name
    return {
        "dtype": wanted if wanted in NAMES else None,
        "param_dtype": kernel if kernel in NAMES else "float32",
    }


def zeros(layer: AnalogLayer) -> dict[str, Any]:
    """Return arguments of a layer of Flax that begins with zeros and has the types of an analog one."""
    return {
        "dtype": None if layer.dtype is None else jnp.dtype(layer.dtype),
        "param_dtype": jnp.dtype(layer.param_dtype),
        "kernel_init": nnx.initializers.zeros_init(),
        "rngs": nnx.Rngs(0),
    }


def has_bias(layer: AnalogLayer) -> bool:
    """Whether an analog layer has a bias, digital or on the tile."""
    return layer.bias is not None or layer.analog_bias
