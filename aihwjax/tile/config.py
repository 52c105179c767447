"""The configuration of a tile, and the reference's names for it."""

from __future__ import annotations

from typing import Any

from aihwjax.config import Config, configclass, part
from aihwjax.devices.base import Device
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.devices.floating_point import FloatingPointDevice
from aihwjax.random import NoiseEngine
from aihwjax.tile.io import IOParameters
from aihwjax.tile.periphery import MappingParameter, PrePostProcessingParameter
from aihwjax.tile.pulses import UpdateMode, UpdateParameters


@configclass
class TileConfig(Config):
    """Everything that defines an analog tile.

    The same class serves every kind of tile; :func:`SingleRPUConfig` and its siblings are short
    functions under the reference's names that fill it in.
    """

    device: Device = part(ConstantStepDevice)
    """The device at each crosspoint."""
    forward: IOParameters = part(IOParameters)
    """Converters and noise of the forward product."""
    backward: IOParameters = part(IOParameters)
    """Converters and noise of the backward product."""
    update: UpdateParameters = part(UpdateParameters)
    """Pulse trains of the update."""
    mapping: MappingParameter = part(MappingParameter)
    """Scales, bias and tile sizes."""
    pre_post: PrePostProcessingParameter = part(PrePostProcessingParameter)
    """Digital input range."""
    update_mode: UpdateMode = UpdateMode.AGGREGATED
    """Whether pulses are applied together where the physics allows, or one by one."""
    noise_engine: NoiseEngine = NoiseEngine.COUNTER
    """Random numbers of the hot path: fast counter hash, or exact threefry."""
    reference_quirks: bool = False
    """Reproduce the reference's well-defined bugs (docs: reference bugs)."""

    def validate(self) -> None:
        """Tell the device whether the quirks are on."""
        if self.device.reference_quirks is not self.reference_quirks:
            device = self.device.replace(reference_quirks=self.reference_quirks)
            object.__setattr__(self, "device", device)


def SingleRPUConfig(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """One pulsed device at each crosspoint.

    Args:
        **fields: Fields of :class:`TileConfig`; ``device`` defaults to a constant-step device.
    """
    return TileConfig(**fields)


def FloatingPointRPUConfig(**fields: Any) -> TileConfig:  # noqa: N802 (the reference's name)
    """Exact weights, exact products, exact updates: the digital baseline.

    Args:
        **fields: Fields of :class:`TileConfig`; ``device`` defaults to a floating-point device and
            both directions to a perfect product.
    """
    # no output bound, so that no output counts as clipped under reference_quirks either
    perfect = IOParameters(is_perfect=True, out_bound=0)
    defaults = {"device": FloatingPointDevice(), "forward": perfect, "backward": perfect}
    return TileConfig(**{**defaults, **fields})
