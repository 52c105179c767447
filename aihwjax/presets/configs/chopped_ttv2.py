"""Tiki-Taka, version 2, with choppers (spec: presets, section 5.6)."""

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


def chopped_ttv2(
    device: Device, *, in_chop_prob: float, fast_lr: float, auto_granularity: float, desired_bl: int = 31
) -> TileConfig:
    """Return a tile with a fast array whose signs are chopped, a digital buffer and a slow array.

    Args:
        device: The device of both arrays.
        in_chop_prob: Probability that the sign of an input line flips when it is read.
        fast_lr: Learning rate of the fast array, before the automatic scale.
        auto_granularity: Threshold of the buffer, in vectors.
        desired_bl: Largest length of a pulse train of the update.
    """
    compound = ChoppedTransferCompound(
        unit_cell_devices=(device, device),
        transfer_forward=transfer_read(),
        transfer_update=transfer_write(),
        in_chop_prob=in_chop_prob,
        auto_scale=True,
        fast_lr=fast_lr,
        auto_granularity=auto_granularity,
    )
    return training_tile(compound, desired_bl)


@preset("chopped ttv2")
def ChoppedTTv2ReRamESPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 with choppers on ReRAM with exponential steps.

    When to use: when the symmetry point of a device is known only roughly: the sign of each input line
    is flipped now and then, so that offsets cancel. The choppers average out that its symmetry point is
    not at zero.

    Source: Rasch et al., Nature Communications 2024 (doi:10.1038/s41467-024-51221-z); device: Gong et
    al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return chopped_ttv2(ReRamESPresetDevice(), in_chop_prob=0.01, fast_lr=0.5, auto_granularity=1000.0).replace(fields)


@preset("chopped ttv2")
def ChoppedTTv2ReRamSBPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 with choppers on ReRAM with soft bounds.

    When to use: when the symmetry point of a device is known only roughly: the sign of each input line
    is flipped now and then, so that offsets cancel. The symmetry point of each crosspoint is
    subtracted.

    Source: Rasch et al., Nature Communications 2024 (doi:10.1038/s41467-024-51221-z); device: Gong et
    al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return chopped_ttv2(
        ReRamSBPresetDevice(subtract_symmetry_point=True),
        in_chop_prob=0.01,
        fast_lr=0.5,
        auto_granularity=1000.0,
    ).replace(fields)


@preset("chopped ttv2")
def ChoppedTTv2CapacitorPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 with choppers on capacitor cells.

    When to use: when the symmetry point of a device is known only roughly: the sign of each input line
    is flipped now and then, so that offsets cancel. The hidden array leaks as well.

    Source: Rasch et al., Nature Communications 2024 (doi:10.1038/s41467-024-51221-z); device: Li et
    al., VLSI Technology 2018 (IEEE 8510648).
    """
    return chopped_ttv2(
        CapacitorPresetDevice(),
        in_chop_prob=0.01,
        fast_lr=0.1,
        auto_granularity=1000.0,
    ).replace(fields)


@preset("chopped ttv2")
def ChoppedTTv2EcRamPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 with choppers on lithium ECRAM.

    When to use: when the symmetry point of a device is known only roughly: the sign of each input line
    is flipped now and then, so that offsets cancel. Its ``fast_lr`` of 1 is ten times that of its
    siblings: the reference does not set it, which looks like an oversight. It is kept, so that both
    give the same.

    Source: Rasch et al., Nature Communications 2024 (doi:10.1038/s41467-024-51221-z); device: Tang et
    al., IEDM 2018 (IEEE 8614551).
    """
    return chopped_ttv2(
        EcRamPresetDevice(),
        in_chop_prob=0.01,
        fast_lr=1.0,
        auto_granularity=500.0,
        desired_bl=100,
    ).replace(fields)


@preset("chopped ttv2")
def ChoppedTTv2EcRamMOPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 with choppers on metal-oxide ECRAM.

    When to use: when the symmetry point of a device is known only roughly: the sign of each input line
    is flipped now and then, so that offsets cancel.

    Source: Rasch et al., Nature Communications 2024 (doi:10.1038/s41467-024-51221-z); device: Kim et
    al., IEDM 2019 (IEEE 8993463).
    """
    return chopped_ttv2(
        EcRamMOPresetDevice(),
        in_chop_prob=0.001,
        fast_lr=0.1,
        auto_granularity=500.0,
        desired_bl=100,
    ).replace(fields)


@preset("chopped ttv2")
def ChoppedTTv2IdealizedPreset(**fields: Any) -> TileConfig:
    """Tiki-Taka version 2 with choppers on idealised devices.

    When to use: when the symmetry point of a device is known only roughly: the sign of each input line
    is flipped now and then, so that offsets cancel. Mostly a check of the algorithm.

    Source: Rasch et al., Nature Communications 2024 (doi:10.1038/s41467-024-51221-z); device: Rasch,
    Gokmen and Haensch, IEEE Design & Test 2019 (arXiv:1906.02698).
    """
    return chopped_ttv2(
        IdealizedPresetDevice(),
        in_chop_prob=0.001,
        fast_lr=0.1,
        auto_granularity=500.0,
        desired_bl=100,
    ).replace(fields)
