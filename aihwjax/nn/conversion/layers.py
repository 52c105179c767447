"""What each layer of Flax becomes on tiles, and what an analog layer becomes without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aihwjax.nn.conv import AnalogConv
from aihwjax.nn.conv_transpose import AnalogConvTranspose
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.linear import AnalogLinear
from aihwjax.nn.linear_general import AnalogLinearGeneral
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key

Matrix = tuple[jax.Array, jax.Array | None]
"""Weights ``(out, columns)`` and bias ``(out,)``."""


@dataclass(frozen=True)
class Counterpart:
    """How layers of one class go to tiles and back; arrays are those of one layer, not of a stack."""

    analog: type[AnalogLayer]
    """The analog layer."""
    rank: Callable[[Any], int]
    """Number of axes of a kernel."""
    problem: Callable[[Any], str]
    """Why a layer cannot be converted; empty if it can."""
    build: Callable[[Any, TileConfig, Key], AnalogLayer]
    """Make the analog layer, with any weights."""
    matrix: Callable[[Any, jax.Array], jax.Array]
    """Turn a kernel into the matrix on the tiles."""
    digital: Callable[[Any, nnx.Rngs], nnx.Module]
    """Make the layer of Flax, with any weights."""
    kernel: Callable[[Any, jax.Array], jax.Array]
    """Turn the matrix on the tiles into a kernel."""


def rngs(key: Key) -> nnx.Rngs:
    """Return a source of initial values that is this key."""
    return nnx.Rngs(params=key)


# --------------------------------------------------------------------- linear
def _linear(layer: nnx.Linear, config: TileConfig, key: Key) -> AnalogLayer:
    return AnalogLinear(layer.in_features, layer.out_features, layer.use_bias, config=config, rngs=rngs(key))


def _digital_linear(layer: AnalogLinear, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Linear(layer.in_features, layer.out_features, use_bias=has_bias(layer), rngs=rngs)


def _own_product(layer: Any) -> str:
    """Name a product of its own, which the tile would not do."""
    standard = getattr(layer, "dot_general", None) in (None, jax.lax.dot_general)
    return "" if standard and getattr(layer, "dot_general_cls", None) is None else "it has a dot_general of its own"


# -------------------------------------------------------------- linear general
def _general(layer: nnx.LinearGeneral, config: TileConfig, key: Key) -> AnalogLayer:
    return AnalogLinearGeneral(
        layer.in_features,
        layer.out_features,
        axis=layer.axis,
        use_bias=layer.use_bias,
        config=config,
        rngs=rngs(key),
    )


def _digital_general(layer: AnalogLinearGeneral, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.LinearGeneral(
        layer.in_features, layer.out_features, axis=layer.axis, use_bias=has_bias(layer), rngs=rngs
    )


def _general_problem(layer: nnx.LinearGeneral) -> str:
    return "batch_axis has a matrix for each entry" if layer.batch_axis else _own_product(layer)


# ----------------------------------------------------------------- convolution
def _conv(layer: nnx.Conv, config: TileConfig, key: Key) -> AnalogLayer:
    return AnalogConv(
        layer.in_features,
        layer.out_features,
        layer.kernel_size,
        layer.strides,
        padding=layer.padding,  # type: ignore[arg-type]
        kernel_dilation=layer.kernel_dilation,
        feature_group_count=layer.feature_group_count,
        use_bias=layer.use_bias,
        config=config,
        rngs=rngs(key),
    )


def _digital_conv(layer: AnalogConv, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Conv(
        layer.in_features,
        layer.out_features,
        layer.kernel_size,
        layer.strides,
        padding=layer.padding,
        kernel_dilation=layer.kernel_dilation,
        feature_group_count=layer.groups,
        use_bias=has_bias(layer),
        rngs=rngs,
    )


def _conv_problem(layer: nnx.Conv) -> str:
    dilation = layer.input_dilation
    if any(n != 1 for n in (dilation if isinstance(dilation, tuple | list) else (dilation or 1,))):
        return f"input_dilation={dilation!r}: AnalogConvTranspose widens images by its strides"
    standard = getattr(layer, "conv_general_dilated", None) in (None, jax.lax.conv_general_dilated)
    return "" if standard else "it has a conv_general_dilated of its own"


def _by_channel(layer: nnx.Conv, kernel: jax.Array) -> jax.Array:
    if layer.mask is not None:
        kernel = kernel * layer.mask
    matrix = jnp.moveaxis(kernel, (-1, -2), (0, 1))
    return matrix.reshape(matrix.shape[0], -1)


def _by_element(layer: Any, matrix: jax.Array) -> jax.Array:
    return jnp.moveaxis(matrix.reshape(matrix.shape[0], -1, *layer.kernel_size), (0, 1), (-1, -2))


# ------------------------------------------------------ transposed convolution
def _transpose(layer: nnx.ConvTranspose, config: TileConfig, key: Key) -> AnalogLayer:
    return AnalogConvTranspose(
        layer.in_features,
        layer.out_features,
        layer.kernel_size,
        layer.strides,
        padding=layer.padding,  # type: ignore[arg-type]
        kernel_dilation=layer.kernel_dilation,
        use_bias=layer.use_bias,
        config=config,
        rngs=rngs(key),
    )


def _digital_transpose(layer: AnalogConvTranspose, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.ConvTranspose(
        layer.in_features,
        layer.out_features,
        layer.kernel_size,
        layer.strides,
        padding=layer.padding,
        kernel_dilation=layer.kernel_dilation,
        use_bias=has_bias(layer),
        rngs=rngs,
    )


def _transpose_problem(layer: nnx.ConvTranspose) -> str:
    circular = layer.transpose_kernel and layer.padding == "CIRCULAR"
    return "padding='CIRCULAR' with transpose_kernel=True" if circular else ""


def _straight(layer: nnx.ConvTranspose, kernel: jax.Array) -> jax.Array:
    if layer.mask is not None:
        kernel = kernel * layer.mask
    if layer.transpose_kernel:
        kernel = jnp.flip(kernel, tuple(range(len(layer.kernel_size)))).swapaxes(-1, -2)
    matrix = jnp.moveaxis(kernel, (-1, -2), (0, 1))
    return matrix.reshape(matrix.shape[0], -1)


COUNTERPARTS: Mapping[type[nnx.Module], Counterpart] = {
    nnx.Linear: Counterpart(
        AnalogLinear,
        lambda layer: 2,
        _own_product,
        _linear,
        lambda layer, kernel: kernel.T,
        _digital_linear,
        lambda layer, matrix: matrix.T,
    ),
    nnx.LinearGeneral: Counterpart(
        AnalogLinearGeneral,
        lambda layer: len(layer.in_features) + len(layer.out_features),
        _general_problem,
        _general,
        lambda layer, kernel: kernel.reshape(-1, _size(layer.out_features)).T,
        _digital_general,
        lambda layer, matrix: matrix.T.reshape(*layer.in_features, *layer.out_features),
    ),
    nnx.Conv: Counterpart(
        AnalogConv,
        lambda layer: len(layer.kernel_size) + 2,
        _conv_problem,
        _conv,
        _by_channel,
        _digital_conv,
        _by_element,
    ),
    nnx.ConvTranspose: Counterpart(
        AnalogConvTranspose,
        lambda layer: len(layer.kernel_size) + 2,
        _transpose_problem,
        _transpose,
        _straight,
        _digital_transpose,
        _by_element,
    ),
}
"""Layers of Flax that have a counterpart on tiles."""


def counterpart_of(layer: AnalogLayer) -> Counterpart | None:
    """Return how an analog layer goes back; ``None`` for a class that is none of this library."""
    for each in COUNTERPARTS.values():
        if isinstance(layer, each.analog):
            return each
    return None


def has_bias(layer: AnalogLayer) -> bool:
    """Whether an analog layer has a bias, digital or on the tile."""
    return layer.bias is not None or layer.analog_bias


def _size(axes: tuple[int, ...]) -> int:
    total = 1
    for size in axes:
        total *= size
    return total
