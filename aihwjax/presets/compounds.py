"""Preset of a unit cell (spec: presets, section 3)."""

from __future__ import annotations

from typing import Any

from aihwjax.compounds import OneSidedUnitCell
from aihwjax.presets.devices import PCMPresetDevice
from aihwjax.presets.registry import preset
from aihwjax.presets.utils import PresetIOParameters, PresetUpdateParameters


@preset("unit cell")
def PCMPresetUnitCell(**fields: Any) -> OneSidedUnitCell:
    """Pair of phase-change devices that only grow, refreshed after every mini-batch.

    When to use: as the device of a tile of phase change memory. The weight is the difference of the
    two; the refresh reads with the converters of the presets and writes at most 31 pulses without
    checking the result. Of the two devices the second one's parameters have no effect.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406).
    """
    return OneSidedUnitCell(
        unit_cell_devices=(PCMPresetDevice(), PCMPresetDevice()),
        refresh_every=1,
        refresh_forward=PresetIOParameters(),
        refresh_update=PresetUpdateParameters(desired_bl=31),
    ).replace(fields)
