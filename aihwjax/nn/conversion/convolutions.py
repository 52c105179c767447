"""Layers that are a matrix for each place of an image: ``Conv`` and ``ConvTranspose``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aihwjax.nn.conv import AnalogConv
from aihwjax.nn.conv_transpose import AnalogConvTranspose
from aihwjax.nn.conversion.counterpart import Counterpart, analog, has_bias, zeros
from aihwjax.nn.layer import AnalogLayer, Start
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key


def _movement(layer: Any) -> dict[str, Any]:
    """Return what says how a kernel goes over images, which all four classes call alike."""
    names = "in_features", "out_features", "kernel_size", "strides", "padding", "kernel_dilation"
    return {name: getattr(layer, name) for name in names}


# ----------------------------------------------------------------- convolution
def _conv(layer: nnx.Conv, config: TileConfig, key: Key, start: Start) -> AnalogLayer:
    return AnalogConv(
        **_movement(layer),
        feature_group_count=layer.feature_group_count,
        use_bias=start[1] is not None,
        **analog(layer, config, key, start),
    )


def _digital_conv(layer: AnalogConv) -> nnx.Module:
    return nnx.Conv(
        **_movement(layer),
        feature_group_count=layer.groups,
        use_bias=has_bias(layer),
        **zeros(layer),
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


CONV = Counterpart(
    AnalogConv,
    lambda layer: (*layer.kernel_size, layer.in_features // layer.feature_group_count, layer.out_features),
    _conv_problem,
    _conv,
    _by_channel,
    _digital_conv,
    _by_element,
)


# ------------------------------------------------------ transposed convolution
def _transpose(layer: nnx.ConvTranspose, config: TileConfig, key: Key, start: Start) -> AnalogLayer:
    return AnalogConvTranspose(
        **_movement(layer),
        use_bias=start[1] is not None,
        **analog(layer, config, key, start),
    )


def _digital_transpose(layer: AnalogConvTranspose) -> nnx.Module:
    return nnx.ConvTranspose(
        **_movement(layer),
        use_bias=has_bias(layer),
        **zeros(layer),
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


CONV_TRANSPOSE = Counterpart(
    AnalogConvTranspose,
    lambda layer: tuple(layer.kernel_shape),
    _transpose_problem,
    _transpose,
    _straight,
    _digital_transpose,
    _by_element,
)
