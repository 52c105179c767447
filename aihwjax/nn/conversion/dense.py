"""Layers that are one matrix: ``Linear``, ``LoRALinear``, ``LinearGeneral`` and ``Einsum``."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aihwjax.errors import ConfigError
from aihwjax.nn.conversion.counterpart import Counterpart, analog, has_bias, own_product, zeros
from aihwjax.nn.einsum import AnalogEinsum, contraction
from aihwjax.nn.layer import AnalogLayer, Start
from aihwjax.nn.linear import AnalogLinear
from aihwjax.nn.linear_general import AnalogLinearGeneral
from aihwjax.nn.lora import AnalogLoRALinear
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key


# --------------------------------------------------------------------- linear
def _linear(layer: nnx.Linear, config: TileConfig, key: Key, start: Start) -> AnalogLayer:
    return AnalogLinear(
        layer.in_features,
        layer.out_features,
        start[1] is not None,
        **analog(layer, config, key, start),
    )


def _digital_linear(layer: AnalogLinear) -> nnx.Module:
    return nnx.Linear(layer.in_features, layer.out_features, use_bias=has_bias(layer), **zeros(layer))


LINEAR = Counterpart(
    AnalogLinear,
    lambda layer: (layer.in_features, layer.out_features),
    own_product,
    _linear,
    lambda layer, kernel: kernel.T,
    _digital_linear,
    lambda layer, matrix: matrix.T,
)


# -------------------------------------------------- linear with low-rank part
def _lora(layer: nnx.LoRALinear, config: TileConfig, key: Key, start: Start) -> AnalogLayer:
    return AnalogLoRALinear(
        layer.in_features,
        layer.out_features,
        start[1] is not None,
        lora_rank=layer.lora.lora_a.get_value().shape[-1],
        **analog(layer, config, key, start),
    )


def _digital_lora(layer: AnalogLoRALinear) -> nnx.Module:
    return nnx.LoRALinear(
        layer.in_features,
        layer.out_features,
        lora_rank=layer.lora_rank,
        use_bias=has_bias(layer),
        **zeros(layer),
    )


LORA = Counterpart(
    AnalogLoRALinear,
    LINEAR.shape,
    own_product,
    _lora,
    LINEAR.matrix,
    _digital_lora,
    LINEAR.kernel,
    digital_parts=("lora",),
)


# -------------------------------------------------------------- linear general
def _general(layer: nnx.LinearGeneral, config: TileConfig, key: Key, start: Start) -> AnalogLayer:
    return AnalogLinearGeneral(
        layer.in_features,
        layer.out_features,
        axis=layer.axis,
        use_bias=start[1] is not None,
        **analog(layer, config, key, start),
    )


def _digital_general(layer: AnalogLinearGeneral) -> nnx.Module:
    return nnx.LinearGeneral(
        layer.in_features, layer.out_features, axis=layer.axis, use_bias=has_bias(layer), **zeros(layer)
    )


def _general_problem(layer: nnx.LinearGeneral) -> str:
    return "batch_axis has a matrix for each entry" if layer.batch_axis else own_product(layer)


GENERAL = Counterpart(
    AnalogLinearGeneral,
    lambda layer: (*layer.in_features, *layer.out_features),
    _general_problem,
    _general,
    lambda layer, kernel: kernel.reshape(-1, math.prod(layer.out_features)).T,
    _digital_general,
    lambda layer, matrix: matrix.T.reshape(*layer.in_features, *layer.out_features),
)


# ---------------------------------------------------------------------- einsum
def _einsum(layer: nnx.Einsum, config: TileConfig, key: Key, start: Start) -> AnalogLayer:
    return AnalogEinsum(
        layer.einsum_str,
        layer.kernel_shape,
        None if start[1] is None else layer.bias_shape,
        **analog(layer, config, key, start),
    )


def _digital_einsum(layer: AnalogEinsum) -> nnx.Module:
    return nnx.Einsum(layer.einsum_str, layer.kernel_shape, layer.bias_shape, **zeros(layer))


def _einsum_problem(layer: nnx.Einsum) -> str:
    if layer.einsum_op is not jnp.einsum:
        return "it has an einsum_op of its own"
    try:
        contraction(layer.einsum_str)
    except ConfigError as error:
        return str(error).replace("is not allowed: ", "is not one matrix: ")
    return ""


def _order(layer: Any) -> list[int]:
    """Return the axes of the kernel as the matrix has them."""
    found = contraction(layer.einsum_str)
    return [found.kernel.index(label) for label in (*found.made, *found.summed)]


def _rows_first(layer: Any, kernel: jax.Array) -> jax.Array:
    order, made = _order(layer), len(contraction(layer.einsum_str).made)
    return jnp.transpose(kernel, order).reshape(math.prod(kernel.shape[n] for n in order[:made]), -1)


def _as_written(layer: Any, matrix: jax.Array) -> jax.Array:
    order = _order(layer)
    sizes = [layer.kernel_shape[n] for n in order]
    return jnp.transpose(matrix.reshape(sizes), [order.index(n) for n in range(len(order))])


EINSUM = Counterpart(
    AnalogEinsum,
    lambda layer: tuple(layer.kernel_shape),
    _einsum_problem,
    _einsum,
    _rows_first,
    _digital_einsum,
    _as_written,
)
