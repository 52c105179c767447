"""Programming and drift of one tile's weights, as functions of arrays (spec: inference, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from aihwjax import random, showing
from aihwjax.inference import defects
from aihwjax.inference.conductance.base import Params, Slices
from aihwjax.inference.noise.base import NoiseModel
from aihwjax.loops import apart
from aihwjax.random import Noise
from aihwjax.tile.columns import columns
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product import mvm
from aihwjax.tile.state import FrozenIO
from aihwjax.typing import Number, Weights


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Devices(showing.Record):
    """The devices of a chip one by one, where the weights right after programming do not say enough of them.

    They are remembered if some devices do not work: the partner of a stuck device cannot be told from the weight.
    They are remembered, too, if the converter says so, as that of bit slices does.
    """

    conductances: Slices
    """Conductances in microsiemens right after programming, those of devices that do not work included."""
    params: Params
    """What the way back to weights needs."""
    stuck: Bool[Array, "slices out in"] | None
    """Which devices do not work and keep their conductance; ``None``: all work."""


class Programmed(NamedTuple):
    """What programming makes of the weights of a tile."""

    weights: Weights
    """The weights right after programming."""
    parameters: Any
    """What each device keeps for its drift."""
    devices: Devices | None
    """The devices one by one; ``None``: the weights say enough."""


def programmed(config: TileConfig, model: NoiseModel, weights: Weights, key: Noise) -> Programmed:
    """Return weights as they are right after programming, and what is to be kept.

    Args:
        config: The configuration, of which the defects and the engine count.
        model: The noise model.
        weights: What to program, ``(out, in)``.
        key: Source of programming noise, drift exponents and defects.

    Raises:
        ShapeError: If a map of defects has another shape than the devices.
    """

    def written(config: TileConfig, model: NoiseModel, weights: Weights) -> Programmed:
        stream = random.stream(key, config.noise_engine)
        converter = model.g_converter
        target, params = converter.convert(weights)
        conductances = model.programmed(target, stream.child("programming"))
        parameters = model.drift_parameters(target, stream.child("drift"))
        broken = None
        if config.defects.acts():
            broken, values = defects.stuck(config.defects, converter, target, stream.child("defects"))
            conductances = jnp.where(broken, values, conductances)
        remembered = broken is not None or converter.remembers_devices
        devices = Devices(conductances, params, broken) if remembered else None
        return Programmed(converter.convert_back(conductances, params), parameters, devices)

    return apart(written, config, model, weights)


def drifted(
    config: TileConfig,
    model: NoiseModel,
    kept: Programmed,
    t: Number,
    key: Noise,
) -> Weights:
    """Return programmed weights as they are read at a time.

    Unless the devices are remembered, the programmed weights are converted again, by their own largest magnitude: of
    the devices of a crosspoint only the weight is known, so that an idle device starts at ``g_min`` (spec: inference,
    section 3). Devices that are remembered start where they were programmed to; those that do not work stay there.

    Args:
        config: The configuration, of which the engine counts.
        model: The noise model.
        kept: What was kept of the programming.
        t: Seconds after programming.
        key: Source of read noise.
    """

    def read(model: NoiseModel, kept: Programmed, t: Number) -> Weights:
        stream = random.stream(key, config.noise_engine).child("read")
        if kept.devices is None:
            conductances, params = model.g_converter.convert(kept.weights)
            read = model.drifted(conductances, kept.parameters, t, stream)
        else:
            conductances, params = kept.devices.conductances, kept.devices.params
            read = model.drifted(conductances, kept.parameters, t, stream)
            if kept.devices.stuck is not None:
                read = jnp.where(kept.devices.stuck, conductances, read)
        return model.g_converter.convert_back(read, params)

    return apart(read, model, kept, t)


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
    lines = weights.shape[1]
    alone = mvm.reads_line_by_line(config.forward)
    y, _ = mvm.analog_product(
        config.forward,
        frozen,
        weights,
        jnp.ones((lines, 1), jnp.float32) if alone else jnp.eye(lines, dtype=jnp.float32),
        random.stream(key, config.noise_engine),
        bound_managed=True,
        running=running,
        quirks=config.reference_quirks,
        torch_tile=config.torch_tile,
        columns=columns(config, training=False),
        line_by_line=alone,
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
