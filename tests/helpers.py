"""Tables over which tests run: a new device is tested everywhere by adding its row here."""

from __future__ import annotations

import jax

from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.devices.custom_step import CustomStepDevice
from aihwjax.devices.device import Device
from aihwjax.devices.exp_step import ExpStepDevice
from aihwjax.devices.floating_point import FloatingPointDevice
from aihwjax.devices.ideal import IdealDevice
from aihwjax.devices.linear_step import LinearStepDevice
from aihwjax.devices.measured_step import MeasuredStepDevice
from aihwjax.devices.piecewise_step import PiecewiseStepDevice
from aihwjax.devices.pow_step import PowStepDevice
from aihwjax.devices.pow_step_reference import PowStepReferenceDevice
from aihwjax.devices.soft_bounds import SoftBoundsDevice
from aihwjax.devices.soft_bounds_pmax import SoftBoundsPmaxDevice
from aihwjax.devices.soft_bounds_reference import SoftBoundsReferenceDevice
from aihwjax.pulses import UpdateMode


def falling(w: jax.Array, slope: jax.Array) -> jax.Array:
    """An up step that falls towards the upper bound."""
    return 1.1 - slope * w


def rising(w: jax.Array, slope: jax.Array) -> jax.Array:
    """A down step that falls towards the lower bound, with a bend."""
    return 1.0 + slope * w + 0.5 * w**2


MEASURED = {
    "nodes": (0.0, 0.3, 0.6, 1.0), "up": (1.5, 1.1, 0.9, 0.2), "down": (0.1, 0.7, 1.2, 1.4),
    "up_std": (1.0, 1.2, 0.8, 0.5), "down_std": (0.5, 0.9, 1.0, 1.0), "dw_min_std": 0.3,
    "up_dtod": (0.3, 0.2, 0.2, 0.1), "down_dtod": (0.1, 0.2, 0.3, 0.3),
}  # fmt: skip
"""Tables of a measured device with all of its features."""

PULSED_DEVICES: dict[str, Device] = {
    "constant_step": ConstantStepDevice(),
    "linear_step": LinearStepDevice(gamma_up=0.4, gamma_down=0.7),
    "soft_bounds": SoftBoundsDevice(),
    "soft_bounds_pmax": SoftBoundsPmaxDevice(),
    "soft_bounds_reference": SoftBoundsReferenceDevice(reference_std=0.05, subtract_symmetry_point=True),
    "exp_step": ExpStepDevice(),
    "pow_step": PowStepDevice(pow_gamma=1.7),
    "pow_step_reference": PowStepReferenceDevice(reference_std=0.05, subtract_symmetry_point=True),
    "piecewise_step": PiecewiseStepDevice(piecewise_up=(1.5, 1.0, 0.5), piecewise_down=(0.2, 1.0, 2.0)),
    "measured_step": MeasuredStepDevice(**MEASURED, w_max_dtod=0.2, w_min_dtod=0.2),
    "custom_step": CustomStepDevice(up=falling, down=rising, parameters=(1.2,)),
}
"""One representative of every pulsed device, with the features that set it apart."""

EXACT_DEVICES: dict[str, Device] = {
    "ideal": IdealDevice(),
    "floating_point": FloatingPointDevice(),
}
"""Every device that is updated exactly."""

VARIANTS: dict[str, Device] = {
    "constant_step/asymmetric": ConstantStepDevice(up_down=0.2),
    "constant_step/log_normal": ConstantStepDevice(dw_min_dtod_log_normal=True),
    "constant_step/noise_free": ConstantStepDevice(dw_min_std=0.0),
    "linear_step/additive": LinearStepDevice(gamma_up=0.4, gamma_down=0.7, mult_noise=False),
    "linear_step/write_noise": LinearStepDevice(write_noise_std=2.0),
    "soft_bounds/reversed": SoftBoundsDevice(reverse_up=True, reverse_down=True),
    "soft_bounds_reference/multiplicative": SoftBoundsReferenceDevice(mult_noise=True, slope_up_dtod=0.1),
    "exp_step/complex_noise": ExpStepDevice(dw_min_std_add=0.001, dw_min_std_slope=0.001),
    "pow_step/write_noise": PowStepDevice(write_noise_std=2.0),
}
"""Options that change a device's program."""

DEVICES: dict[str, Device] = {**PULSED_DEVICES, **EXACT_DEVICES}
"""Every single device of the library."""

MODES = [UpdateMode.AGGREGATED, UpdateMode.SEQUENTIAL]
"""Ways of the update; the third, with derivatives, has the weights of the first (see test_update_derivative)."""
