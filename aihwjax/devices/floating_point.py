"""Floating-point device: the digital baseline under the same interface."""

from __future__ import annotations

from aihwjax.config import configclass
from aihwjax.devices.device import DeviceState
from aihwjax.devices.ideal import ExactDevice
from aihwjax.errors import ConfigError
from aihwjax.random import Stream
from aihwjax.typing import Marks, Weights


@configclass
class FloatingPointDevice(ExactDevice):
    """Exact weights and updates; with :func:`~aihwjax.FloatingPointRPUConfig` also exact products.

    When to use: as the baseline of a comparison. Spec: devices, section 6.
    """

    def reset_weights(
        self, state: DeviceState, weights: Weights, where: Marks, stream: Stream
    ) -> tuple[DeviceState, Weights]:
        raise ConfigError("device=FloatingPointDevice cannot be reset: give an IdealDevice or a pulsed device")
