"""What the training presets have in common (spec: presets, section 4)."""

from __future__ import annotations

from aihwjax.devices.device import Device
from aihwjax.presets.utils import PresetIOParameters, PresetUpdateParameters
from aihwjax.pulses import UpdateParameters
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.io import BoundManagementType, IOParameters, NoiseManagementType


def training_tile(device: Device, desired_bl: int = 31) -> TileConfig:
    """Return a tile with the converters and the pulse trains of the presets.

    Args:
        device: What is at each crosspoint.
        desired_bl: Largest length of a pulse train.
    """
    return TileConfig(
        device=device,
        forward=PresetIOParameters(),
        backward=PresetIOParameters(),
        update=PresetUpdateParameters(desired_bl=desired_bl),
    )


def transfer_read() -> IOParameters:
    """Return the converters of a transfer read: those of the presets, without any management."""
    return PresetIOParameters(noise_management=NoiseManagementType.NONE, bound_management=BoundManagementType.NONE)


def transfer_write() -> UpdateParameters:
    """Return the pulse train of a transfer that writes one pulse at most."""
    return PresetUpdateParameters(desired_bl=1, update_bl_management=False, update_management=False)
