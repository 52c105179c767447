"""Tiki-Taka, version 1: a fast array is transferred to a slow one (spec: presets, section 5.4)."""

from __future__ import annotations

from typing import Any

from aihwjax.compounds import TransferCompound
from aihwjax.devices.device import Device
from aihwjax.presets.configs.parts import training_tile, transfer_read
from aihwjax.presets.devices import (
    CapacitorPresetDevice,
    EcRamMOPresetDevice,
    EcRamPresetDevice,
    IdealizedPresetDevice,
    ReRamESPresetDevice,
    ReRamSBPresetDevice,
)
from aihwjax.presets.registry import preset
from aihwjax.presets.utils import PresetUpdateParameters
from aihwjax.tile.config import TileConfig


def tiki_taka(device: Device) -> TileConfig:
    """Return a tile with a fast and a slow array of such devices."""
    compound = TransferCompound(
        unit_cell_devices=(device, device), transfer_forward=transfer_read(), transfer_update=PresetUpdateParameters()
    )
    return training_tile(compound)


@preset("tiki-taka")
def TikiTakaReRamESPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka (version 1) on ReRAM with exponential steps.

    When to use: for asymmetric devices, if gradients may be written into a second array with several
    pulses. One column is transferred after every mini-batch. Its device has a symmetry point away from
    zero, which limits what the transfer can reach.

    Source: Gokmen and Haensch, Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00103); device:
    Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return tiki_taka(ReRamESPresetDevice()).replace(fields)


@preset("tiki-taka")
def TikiTakaReRamSBPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka (version 1) on ReRAM with soft bounds.

    When to use: for asymmetric devices, if gradients may be written into a second array with several
    pulses. One column is transferred after every mini-batch. The symmetry point of each crosspoint is
    subtracted.

    Source: Gokmen and Haensch, Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00103); device:
    Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return tiki_taka(ReRamSBPresetDevice(subtract_symmetry_point=True)).replace(fields)


@preset("tiki-taka")
def TikiTakaCapacitorPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka (version 1) on capacitor cells.

    When to use: for asymmetric devices, if gradients may be written into a second array with several
    pulses. One column is transferred after every mini-batch. The hidden array leaks as well.

    Source: Gokmen and Haensch, Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00103); device:
    Li et al., VLSI Technology 2018 (IEEE 8510648).
    """
    return tiki_taka(CapacitorPresetDevice()).replace(fields)


@preset("tiki-taka")
def TikiTakaEcRamPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka (version 1) on lithium ECRAM.

    When to use: for asymmetric devices, if gradients may be written into a second array with several
    pulses. One column is transferred after every mini-batch.

    Source: Gokmen and Haensch, Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00103); device:
    Tang et al., IEDM 2018 (IEEE 8614551).
    """
    return tiki_taka(EcRamPresetDevice()).replace(fields)


@preset("tiki-taka")
def TikiTakaEcRamMOPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka (version 1) on metal-oxide ECRAM.

    When to use: for asymmetric devices, if gradients may be written into a second array with several
    pulses. One column is transferred after every mini-batch.

    Source: Gokmen and Haensch, Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00103); device:
    Kim et al., IEDM 2019 (IEEE 8993463).
    """
    return tiki_taka(EcRamMOPresetDevice()).replace(fields)


@preset("tiki-taka")
def TikiTakaIdealizedPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka (version 1) on idealised devices.

    When to use: for asymmetric devices, if gradients may be written into a second array with several
    pulses. One column is transferred after every mini-batch. Mostly a check of the algorithm.

    Source: Gokmen and Haensch, Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00103); device:
    Rasch, Gokmen and Haensch, IEEE Design & Test 2019 (arXiv:1906.02698).
    """
    return tiki_taka(IdealizedPresetDevice()).replace(fields)
