"""Programming and drift of one tile's weights, as functions of arrays (spec: inference, section 3)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax import random
from aihwjax.inference.noise.base import NoiseModel
from aihwjax.random import Noise
from aihwjax.tile.columns import columns
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product import mvm
from aihwjax.tile.state import FrozenIO
from aihwjax.typing import Number, Weights


def programmed(model: NoiseModel, weights: Weights, key: Noise, engine: random.NoiseEngine) -> tuple[Weights, Any]:
    """Return weights as they are right after programming, and what each device keeps for its drift.

    Args:
        model: The noise model.
        weights: What to program, ``(out, in)``.
        key: Source of programming noise and drift exponents.
        engine: How random numbers are made.
    """
    stream = random.stream(key, engine)
    target, params = model.g_converter.convert(weights)
    conductances = model.programmed(target, stream.child("programming"))
    return model.g_converter.convert_back(conductances, params), model.drift_parameters(target, stream.child("drift"))


def drifted(
    model: NoiseModel, weights: Weights, parameters: Any, t: Number, key: Noise, engine: random.NoiseEngine
) -> Weights:
    """Return programmed weights as they are read at a time.

    The programmed weights are converted again, by their own largest magnitude: of the devices of a crosspoint only
    the weight is remembered, so that an idle device starts at ``g_min`` (spec: inference, section 3).

    Args:
        model: The noise model.
        weights: Weights right after programming, ``(out, in)``.
        parameters: What each device keeps.
        t: Seconds after programming.
        key: Source of read noise.
        engine: How random numbers are made.
    """
    conductances, params = model.g_converter.convert(weights)
    read = model.drifted(conductances, parameters, t, random.stream(key, engine).child("read"))
    return model.g_converter.convert_back(read, params)


def readout(
    config: TileConfig, frozen: FrozenIO, weights: Weights, running: Float[Array, ""] | None, key: Noise
) -> Float[Array, "*columns"]:
    """Return the read-out of the compensation: a product with an identity matrix, with all converters and noise.

    Args:
        config: The configuration, which has a compensation.
        frozen: Frozen draws of the forward product.
        weights: The weights at the time of the read-out.
        running: Running value of the noise management, if it averages.
        key: Source of the noise.
    """
    assert config.drift_compensation is not None
    y, _ = mvm.analog_product(
        config.forward,
        frozen,
        weights,
        jnp.eye(weights.shape[1], dtype=jnp.float32),
        random.stream(key, config.noise_engine),
        bound_managed=True,
        running=running,
        quirks=config.reference_quirks,
        torch_tile=config.torch_tile,
        columns=columns(config, training=False),
    )
    return config.drift_compensation.readout(y)


def baseline(
    config: TileConfig,
    frozen: FrozenIO,
    exact: Weights,
    weights: Weights,
    running: Float[Array, ""] | None,
    key: Noise,
) -> Float[Array, "*columns"] | None:
    """Return the read-out that later ones are compared with; ``None`` without compensation.

    Args:
        config: The configuration.
        frozen: Frozen draws of the forward product.
        exact: What was programmed.
        weights: The weights right after programming.
        running: Running value of the noise management, if it averages.
        key: Source of the noise.
    """
    if config.drift_compensation is None:
        return None
    if config.drift_compensation.exact_reference():
        return config.drift_compensation.readout(exact.T)
    return readout(config, frozen, weights, running, key)
