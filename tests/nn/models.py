"""Configurations and small models that several tests use."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from aihwjax import nn
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.tile.config import FloatingPointRPUConfig, SingleRPUConfig, TileConfig
from aihwjax.tile.product.io import BoundManagementType, IOParameters, NoiseManagementType
from aihwjax.tile.product.periphery import InputRangeParameter, MappingParameter, PrePostProcessingParameter

WIDE_DEVICE = ConstantStepDevice(w_max=5.0, w_min=-5.0, w_max_dtod=0.0, w_min_dtod=0.0)
"""A pulsed device that holds all weights of these tests."""

BARE = IOParameters(
    noise_management=NoiseManagementType.NONE,
    bound_management=BoundManagementType.NONE,
    inp_bound=0,
    inp_res=0,
    out_res=0,
    out_noise=0,
)
"""A product that only clips its outputs."""


def exact(**mapping: Any) -> TileConfig:
    """Return a tile without any non-ideality."""
    return FloatingPointRPUConfig(mapping=MappingParameter(**mapping))


def noisy(**mapping: Any) -> TileConfig:
    """Return a pulsed tile with noisy products, without what takes long to compile."""
    io = BARE.replace(out_noise=0.06)
    return SingleRPUConfig(device=WIDE_DEVICE, forward=io, backward=io, mapping=MappingParameter(**mapping))


def ranged(
    quirks: bool = False, out_bound: float = 0.0, mapping: MappingParameter | None = None, **fields: Any
) -> TileConfig:
    """Return an exact tile with an input range."""
    fields = {"enable": True, "init_from_data": 0, **fields}
    return FloatingPointRPUConfig(
        forward=BARE.replace(out_bound=out_bound),
        mapping=mapping or MappingParameter(),
        pre_post=PrePostProcessingParameter(input_range=InputRangeParameter(**fields)),
        reference_quirks=quirks,
    )


def linear(config: TileConfig, in_features: int = 4, out_features: int = 3, bias: bool = True) -> nn.AnalogLinear:
    """Return one layer."""
    return nn.AnalogLinear(in_features, out_features, bias, config=config, rngs=nnx.Rngs(0))


def network(config: TileConfig) -> nn.AnalogSequential:
    """Return a small classifier of 4 inputs and 3 classes."""
    rngs = nnx.Rngs(0)
    return nn.AnalogSequential(
        nn.AnalogLinear(4, 6, config=config, rngs=rngs),
        nn.Tanh(),
        nn.AnalogLinear(6, 3, config=config, rngs=rngs),
    )


def inputs(*shape: int, seed: int = 1) -> jax.Array:
    """Return standard normal numbers."""
    return jax.random.normal(jax.random.key(seed), shape)
