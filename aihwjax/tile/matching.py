"""Whether a tile is still what its configuration says: which device does the work, and what was drawn for it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from aihwjax.config.fixed import Drawn, Fixed
from aihwjax.devices.base import Device, PulsedDevice
from aihwjax.devices.ideal import IdealDevice
from aihwjax.errors import ConfigError
from aihwjax.pulses import PulseType
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.frozen import REDRAW
from aihwjax.tile.product.io import IOParameters, NoiseManagementType
from aihwjax.tile.state import TileState
from aihwjax.typing import Weights


def working_device(config: TileConfig) -> Device:
    """Return the device that does the work: conversions resolved, pulse type ``NONE`` without pulses.

    A compound under pulse type ``NONE`` is plain gradient descent (spec: compounds, section 1.2).
    """
    device = config.device.resolved()
    if config.update.pulse_type is PulseType.NONE and device.pulsed:
        if not isinstance(device, PulsedDevice):
            return IdealDevice(reference_quirks=device.reference_quirks)
        return IdealDevice(
            diffusion=device.diffusion,
            lifetime=device.lifetime,
            reset_std=device.reset_std,
            drift=device.drift,
            reference_quirks=device.reference_quirks,
        )
    return device


def fixed(config: TileConfig) -> Fixed:
    """Return what of the device is fixed while a tile is drawn, with the numbers as they were given."""
    unpulsed = config.update.pulse_type is PulseType.NONE and config.device.pulsed
    return Fixed.of(working_device(config) if unpulsed else config.device, "device")


def check(config: TileConfig, state: TileState) -> Bool[Array, ""] | None:
    """Return whether the devices are those of the configuration; ``None`` if that is known now.

    Args:
        config: A configuration.
        state: A tile.

    Raises:
        ConfigError: If a number or a choice with which devices are drawn is known to be another one.
    """
    return None if state.drawn is None else state.drawn.holds(fixed(config), REDRAW)


def fitting_device(config: TileConfig, state: TileState) -> tuple[Device, Bool[Array, ""] | None]:
    """Return the device that does the work and the result of :func:`check`."""
    holds = check(config, state)
    return working_device(config), holds


def spoiled(weights: Weights, holds: Bool[Array, ""] | None) -> Weights:
    """Return the weights, the first of them NaN if the devices turn out to be others than configured.

    A compiled program cannot raise an error, and nothing that is read or trained survives a NaN unseen. One weight
    costs nothing.
    """
    if holds is None:
        return weights
    first = jnp.where(holds, weights[:1, :1], jnp.nan)
    return lax.dynamic_update_slice(weights, first, (0, 0))


def averages(io: IOParameters) -> bool:
    """Whether a product scales its input by a running average."""
    return io.noise_management is NoiseManagementType.AVERAGE_ABS_MAX and not io.is_perfect


def check_average(io: IOParameters, running: jax.Array | None, name: str) -> None:
    """Refuse a running average that a tile has no room for.

    Raises:
        ConfigError: If the noise management was switched on after the tile was built.
    """
    if running is None and averages(io):
        raise ConfigError(
            f"{name}.noise_management=AVERAGE_ABS_MAX is not allowed on this tile, "
            f"which was built without a running average: {REDRAW}"
        )


def drawn(config: TileConfig) -> Drawn:
    """Return the record of the devices that are being drawn."""
    return Drawn.by(fixed(config))
