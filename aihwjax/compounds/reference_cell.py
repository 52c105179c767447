"""A device and its reference: the weight is their difference (spec: compounds, section 4)."""

from __future__ import annotations

from aihwjax.compounds.vector import ParallelCell, VectorUnitCellUpdatePolicy
from aihwjax.config import configclass
from aihwjax.errors import ConfigError
from aihwjax.typing import Number


@configclass
class ReferenceUnitCell(ParallelCell):
    """Two devices: the first is trained, the second is subtracted as a reference.

    When to use: to move a device's symmetry point to zero by a programmable reference. Program the
    reference with ``tile.set_hidden_update_index(config, state, 1)``, set weights, and go back to 0.
    Decay, diffusion, drift and reset act on the reference as well. Pulses are not sign-corrected:
    with index 1 they move the weight the wrong way. Spec: compounds, section 4.

    One device in the list serves as both.
    """

    def validate(self) -> None:
        count = len(self.unit_cell_devices)
        if count == 1:
            object.__setattr__(self, "unit_cell_devices", self.unit_cell_devices * 2)
        if count > 2:
            raise ConfigError(f"ReferenceUnitCell.unit_cell_devices has {count} entries: give one or two")
        super().validate()

    def weighting(self) -> tuple[Number, ...]:
        return 1.0, -1.0

    def policy(self) -> VectorUnitCellUpdatePolicy:
        return VectorUnitCellUpdatePolicy.SINGLE_FIXED
