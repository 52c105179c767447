"""Tiki-Taka, version 2: transfers through a digital buffer (spec: presets, section 5.5).

Made of the chopped compound with its choppers off, so that ``fast_lr`` is absolute and scaled
automatically, as in the reference.
"""

from __future__ import annotations

from typing import Any

from aihwjax.compounds import ChoppedTransferCompound
from aihwjax.devices.device import Device
from aihwjax.presets.configs.parts import training_tile, transfer_read, transfer_write
from aihwjax.presets.devices import (
    CapacitorPresetDevice,
    EcRamMOPresetDevice,
    EcRamPresetDevice,
    IdealizedPresetDevice,
    ReRamESPresetDevice,
    ReRamSBPresetDevice,
)
from aihwjax.presets.registry import preset
from aihwjax.tile.config import TileConfig


def ttv2(device: Device, *, fast_lr: float, auto_granularity: float, desired_bl: int = 31) -> TileConfig:
    """Return a tile with a fast array, a digital buffer and a slow array of such devices.

    Args:
        device: The device of both arrays.
        fast_lr: Learning rate of the fast array, before the automatic scale.
        auto_granularity: Threshold of the buffer, in vectors.
        desired_bl: Largest length of a pulse train of the update.
    """
    compound = ChoppedTransferCompound(
        unit_cell_devices=(device, device),
        transfer_forward=transfer_read(),
        transfer_update=transfer_write(),
        in_chop_prob=0.0,
        auto_scale=True,
        fast_lr=fast_lr,
        auto_granularity=auto_granularity,
    )
    return training_tile(compound, desired_bl)


@preset("ttv2")
def TTv2ReRamESPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 on ReRAM with exponential steps.

    When to use: for noisy devices with few states: transfers are collected in a digital buffer and
    written as single pulses. Its device has a symmetry point away from zero, which limits what the
    transfer can reach.

    Source: Gokmen, Frontiers in Artificial Intelligence 2021 (doi:10.3389/frai.2021.699148); device:
    Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return ttv2(ReRamESPresetDevice(), fast_lr=0.5, auto_granularity=1000.0).replace(fields)


@preset("ttv2")
def TTv2ReRamSBPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 on ReRAM with soft bounds.

    When to use: for noisy devices with few states: transfers are collected in a digital buffer and
    written as single pulses. The symmetry point of each crosspoint is subtracted.

    Source: Gokmen, Frontiers in Artificial Intelligence 2021 (doi:10.3389/frai.2021.699148); device:
    Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return ttv2(
        ReRamSBPresetDevice(subtract_symmetry_point=True),
        fast_lr=0.5,
        auto_granularity=1000.0,
    ).replace(fields)


@preset("ttv2")
def TTv2CapacitorPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 on capacitor cells.

    When to use: for noisy devices with few states: transfers are collected in a digital buffer and
    written as single pulses. The hidden array leaks as well.

    Source: Gokmen, Frontiers in Artificial Intelligence 2021 (doi:10.3389/frai.2021.699148); device: Li
    et al., VLSI Technology 2018 (IEEE 8510648).
    """
    return ttv2(CapacitorPresetDevice(), fast_lr=0.1, auto_granularity=1000.0).replace(fields)


@preset("ttv2")
def TTv2EcRamPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 on lithium ECRAM.

    When to use: for noisy devices with few states: transfers are collected in a digital buffer and
    written as single pulses.

    Source: Gokmen, Frontiers in Artificial Intelligence 2021 (doi:10.3389/frai.2021.699148); device:
    Tang et al., IEDM 2018 (IEEE 8614551).
    """
    return ttv2(EcRamPresetDevice(), fast_lr=0.1, auto_granularity=500.0, desired_bl=100).replace(fields)


@preset("ttv2")
def TTv2EcRamMOPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 on metal-oxide ECRAM.

    When to use: for noisy devices with few states: transfers are collected in a digital buffer and
    written as single pulses.

    Source: Gokmen, Frontiers in Artificial Intelligence 2021 (doi:10.3389/frai.2021.699148); device:
    Kim et al., IEDM 2019 (IEEE 8993463).
    """
    return ttv2(EcRamMOPresetDevice(), fast_lr=0.1, auto_granularity=500.0, desired_bl=100).replace(fields)


@preset("ttv2")
def TTv2IdealizedPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 on idealised devices.

    When to use: for noisy devices with few states: transfers are collected in a digital buffer and
    written as single pulses. Mostly a check of the algorithm.

    Source: Gokmen, Frontiers in Artificial Intelligence 2021 (doi:10.3389/frai.2021.699148); device:
    Rasch, Gokmen and Haensch, IEEE Design & Test 2019 (arXiv:1906.02698).
    """
    return ttv2(IdealizedPresetDevice(), fast_lr=0.1, auto_granularity=500.0, desired_bl=100).replace(fields)
