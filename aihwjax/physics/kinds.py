"""The devices and compounds of the matrix: each class once, with steps that a short run shows."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from aihwjax.compounds import (
    BufferedTransferCompound,
    ChoppedTransferCompound,
    DynamicTransferCompound,
    MixedPrecisionCompound,
    OneSidedUnitCell,
    ReferenceUnitCell,
    TransferCompound,
    VectorUnitCell,
)
from aihwjax.devices import (
    ConstantStepDevice,
    ExpStepDevice,
    FloatingPointDevice,
    IdealDevice,
    LinearStepDevice,
    PiecewiseStepDevice,
    PowStepDevice,
    PowStepReferenceDevice,
    SoftBoundsDevice,
    SoftBoundsPmaxDevice,
    SoftBoundsReferenceDevice,
)
from aihwjax.devices.custom_step import CustomStepDevice
from aihwjax.devices.device import Device
from aihwjax.devices.measured_step import MeasuredStepDevice


def _up(weights: Any) -> Any:
    return 0.005 * jnp.exp(-0.7 * (weights + 1))


def _down(weights: Any) -> Any:
    return 0.005 * jnp.exp(-0.7 * (1 - weights))


def all_kinds() -> dict[str, Device]:
    """Return one of each class, by its name; ``DifferenceUnitCell`` is another name of ``OneSidedUnitCell``.

    Made when it is asked for: some devices compute what they are checked for, and an import must not take the
    accelerator before ``jax.distributed`` is set up.
    """
    pair = (SoftBoundsDevice(dw_min=0.005), ConstantStepDevice(dw_min=0.005))
    return {
        "ConstantStepDevice": ConstantStepDevice(),
        "LinearStepDevice": LinearStepDevice(gamma_up=0.4, gamma_down=0.7, write_noise_std=1.0),
        "SoftBoundsDevice": SoftBoundsDevice(),
        "SoftBoundsPmaxDevice": SoftBoundsPmaxDevice(),
        "SoftBoundsReferenceDevice": SoftBoundsReferenceDevice(reference_std=0.05, subtract_symmetry_point=True),
        "ExpStepDevice": ExpStepDevice(),
        "PowStepDevice": PowStepDevice(pow_gamma=1.7),
        "PowStepReferenceDevice": PowStepReferenceDevice(reference_std=0.05, subtract_symmetry_point=True),
        "PiecewiseStepDevice": PiecewiseStepDevice(piecewise_up=(1.5, 1.0, 0.5), piecewise_down=(0.2, 1.0, 2.0)),
        # without noise a weight is one of a few numbers, which the two modes round otherwise
        "MeasuredStepDevice": MeasuredStepDevice(
            nodes=(0.0, 0.5, 1.0),
            up=(1.5, 1.0, 0.25),
            down=(0.2, 1.0, 2.0),
            dw_min_std=0.3,
            dw_min_dtod=0.3,
            w_max_dtod=0.2,
        ),
        "CustomStepDevice": CustomStepDevice(dw_min=1.0, up=_up, down=_down, w_min=-1.0, w_max=1.0),
        "IdealDevice": IdealDevice(),
        "FloatingPointDevice": FloatingPointDevice(),
        "VectorUnitCell": VectorUnitCell(unit_cell_devices=pair, gamma_vec=(0.7, 0.7)),
        "ReferenceUnitCell": ReferenceUnitCell(unit_cell_devices=pair),
        "OneSidedUnitCell": OneSidedUnitCell(
            unit_cell_devices=(pair[0],), refresh_every=2, refresh_upper_thres=0.3, refresh_lower_thres=0.1
        ),
        "TransferCompound": TransferCompound(
            unit_cell_devices=pair, gamma=0.2, transfer_every=2, units_in_mbatch=False
        ),
        "BufferedTransferCompound": BufferedTransferCompound(
            unit_cell_devices=pair, transfer_every=2, units_in_mbatch=False
        ),
        "ChoppedTransferCompound": ChoppedTransferCompound(unit_cell_devices=pair, fast_lr=0.1, in_chop_prob=0.1),
        "DynamicTransferCompound": DynamicTransferCompound(unit_cell_devices=pair, fast_lr=0.1, in_chop_prob=0.1),
        "MixedPrecisionCompound": MixedPrecisionCompound(device=pair[0], n_rows_per_transfer=2),
    }
