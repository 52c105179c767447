"""A device and its reference: the weight is their difference (spec: compounds, section 4)."""

from __future__ import annotations

from aihwjax.compounds.cells import CopyingCell
from aihwjax.compounds.vector import VectorUnitCell, VectorUnitCellUpdatePolicy
from aihwjax.config import configclass, numbers
from aihwjax.errors import ConfigError
from aihwjax.typing import Number


@configclass
class ReferenceUnitCell(VectorUnitCell, CopyingCell):
    """Two devices: the first is trained, the second is subtracted as a reference.

    When to use: to move a device's symmetry point to zero by a programmable reference. Program the
    reference with ``tile.set_hidden_update_index(config, state, 1)``, set weights, and go back to 0.
    Decay, diffusion, drift and reset act on the reference as well. Pulses are not sign-corrected:
    with index 1 they move the weight the wrong way. Spec: compounds, section 4.

    One device in the list serves as both.
    """

    update_policy: VectorUnitCellUpdatePolicy = VectorUnitCellUpdatePolicy.SINGLE_FIXED
    """Which devices a vector pulses; with another policy the reference does not stay fixed."""
    gamma_vec: tuple[Number, ...] = numbers((1.0, -1.0))
    """Weight of each device in the sum; if empty, one half each."""

    def validate(self) -> None:
        devices = self.unit_cell_devices
        if len(devices) > 2 and not self.reference_quirks:
            raise ConfigError(f"ReferenceUnitCell.unit_cell_devices has {len(devices)} entries: give one or two")
        self.use((devices * 2)[:2])  # the reference leaves out what is more than two
        super().validate()
