"""Compounds over which tests run: a new one is tested everywhere by adding its row here."""

from __future__ import annotations

import aihwjax as aj
from aihwjax.devices.device import Device

_DEVICES = (aj.SoftBoundsDevice(dw_min=0.02), aj.ConstantStepDevice(dw_min=0.01))
_NOISY = (
    aj.SoftBoundsReferenceDevice(dw_min=0.02, write_noise_std=2.0, subtract_symmetry_point=True),
    aj.LinearStepDevice(dw_min=0.01, write_noise_std=1.0, lifetime=50.0, diffusion=1e-3),
)
_CHOPPED = {"fast_lr": 0.1, "in_chop_prob": 0.3}

COMPOUNDS: dict[str, Device] = {
    "vector": aj.VectorUnitCell(unit_cell_devices=_NOISY, gamma_vec=[0.7, 0.7]),
    "vector, random": aj.VectorUnitCell(unit_cell_devices=_DEVICES, update_policy="SINGLE_RANDOM"),
    "reference": aj.ReferenceUnitCell(unit_cell_devices=_DEVICES),
    "one-sided": aj.OneSidedUnitCell(
        unit_cell_devices=[_DEVICES[0]], refresh_every=2, refresh_upper_thres=0.3, refresh_lower_thres=0.1
    ),
    "transfer": aj.TransferCompound(unit_cell_devices=_NOISY, gamma=0.2, transfer_every=0.4),
    "transfer, resets": aj.TransferCompound(
        unit_cell_devices=_DEVICES, n_reads_per_transfer=9, with_reset_prob=0.5, random_selection=True
    ),
    "buffered": aj.BufferedTransferCompound(
        unit_cell_devices=_DEVICES, gamma_vec=[0.3, 0.9], transfer_every=2, units_in_mbatch=False, forget_buffer=False
    ),
    "chopped": aj.ChoppedTransferCompound(unit_cell_devices=_NOISY, out_chop_prob=0.5, auto_scale=True, **_CHOPPED),
    "dynamic": aj.DynamicTransferCompound(unit_cell_devices=_DEVICES, transfer_columns=False, **_CHOPPED),
    "mixed precision": aj.MixedPrecisionCompound(device=_DEVICES[0], n_x_bins=9, n_d_bins=9, n_rows_per_transfer=2),
    "mixed precision of a cell": aj.MixedPrecisionCompound(device=aj.OneSidedUnitCell(unit_cell_devices=[_DEVICES[0]])),
}
"""One of each kind, with the features that set it apart."""
