"""Devices: one model a file. Each is a frozen configuration and a few pure functions."""

from aihwjax.devices.base import Device, DeviceState, PulsedDevice, Steps, WriteNoiseDevice
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.devices.counts import PulseCounts
from aihwjax.devices.custom_step import CustomStepDevice
from aihwjax.devices.drift import DriftParameter, SimpleDriftParameter
from aihwjax.devices.exp_step import ExpStepDevice
from aihwjax.devices.floating_point import FloatingPointDevice
from aihwjax.devices.ideal import IdealDevice
from aihwjax.devices.linear_step import LinearStepDevice
from aihwjax.devices.measured import from_steps, from_table
from aihwjax.devices.measured_step import MeasuredStepDevice
from aihwjax.devices.piecewise_step import PiecewiseStepDevice
from aihwjax.devices.pow_step import PowStepDevice
from aihwjax.devices.pow_step_reference import PowStepReferenceDevice
from aihwjax.devices.soft_bounds import SoftBoundsDevice
from aihwjax.devices.soft_bounds_pmax import SoftBoundsPmaxDevice
from aihwjax.devices.soft_bounds_reference import SoftBoundsReferenceDevice

__all__ = [
    "ConstantStepDevice",
    "CustomStepDevice",
    "Device",
    "DeviceState",
    "DriftParameter",
    "ExpStepDevice",
    "FloatingPointDevice",
    "IdealDevice",
    "LinearStepDevice",
    "MeasuredStepDevice",
    "PiecewiseStepDevice",
    "PowStepDevice",
    "PowStepReferenceDevice",
    "PulseCounts",
    "PulsedDevice",
    "SimpleDriftParameter",
    "SoftBoundsDevice",
    "SoftBoundsPmaxDevice",
    "SoftBoundsReferenceDevice",
    "Steps",
    "WriteNoiseDevice",
    "from_steps",
    "from_table",
]
