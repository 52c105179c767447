"""Two devices at each crosspoint, of which one at a time is updated (spec: presets, section 5.2)."""

from __future__ import annotations

from typing import Any

from aihwjax.compounds import VectorUnitCell, VectorUnitCellUpdatePolicy
from aihwjax.devices.device import Device
from aihwjax.presets.configs.parts import training_tile
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


def two_devices(device: Device) -> TileConfig:
    """Return a tile whose crosspoints hold two such devices, one picked at random for each vector."""
    cell = VectorUnitCell(unit_cell_devices=(device,) * 2, update_policy=VectorUnitCellUpdatePolicy.SINGLE_RANDOM)
    return training_tile(cell)


@preset("two devices")
def ReRamES2Preset(**fields: Any) -> TileConfig:
    """Plain gradient descent on two devices a crosspoint: ReRAM with exponential steps.

    When to use: to average over devices: each vector updates one of the two at random, so the effective
    learning rate is half of that of one device. Twice the devices do not move the symmetry point.

    Source: Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return two_devices(ReRamESPresetDevice()).replace(fields)


@preset("two devices")
def ReRamSB2Preset(**fields: Any) -> TileConfig:
    """Plain gradient descent on two devices a crosspoint: ReRAM with soft bounds.

    When to use: to average over devices: each vector updates one of the two at random, so the effective
    learning rate is half of that of one device. ``subtract_symmetry_point`` is off.

    Source: Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return two_devices(ReRamSBPresetDevice()).replace(fields)


@preset("two devices")
def Capacitor2Preset(**fields: Any) -> TileConfig:
    """Plain gradient descent on two devices a crosspoint: capacitor cells.

    When to use: to average over devices: each vector updates one of the two at random, so the effective
    learning rate is half of that of one device. All devices leak alike.

    Source: Li et al., VLSI Technology 2018 (IEEE 8510648).
    """
    return two_devices(CapacitorPresetDevice()).replace(fields)


@preset("two devices")
def EcRam2Preset(**fields: Any) -> TileConfig:
    """Plain gradient descent on two devices a crosspoint: lithium ECRAM.

    When to use: to average over devices: each vector updates one of the two at random, so the effective
    learning rate is half of that of one device.

    Source: Tang et al., IEDM 2018 (IEEE 8614551).
    """
    return two_devices(EcRamPresetDevice()).replace(fields)


@preset("two devices")
def EcRamMO2Preset(**fields: Any) -> TileConfig:
    """Plain gradient descent on two devices a crosspoint: metal-oxide ECRAM.

    When to use: to average over devices: each vector updates one of the two at random, so the effective
    learning rate is half of that of one device. Averages the noise of the single steps.

    Source: Kim et al., IEDM 2019 (IEEE 8993463).
    """
    return two_devices(EcRamMOPresetDevice()).replace(fields)


@preset("two devices")
def Idealized2Preset(**fields: Any) -> TileConfig:
    """Plain gradient descent on two devices a crosspoint: idealised devices.

    When to use: to average over devices: each vector updates one of the two at random, so the effective
    learning rate is half of that of one device.

    Source: Rasch, Gokmen and Haensch, IEEE Design & Test 2019 (arXiv:1906.02698).
    """
    return two_devices(IdealizedPresetDevice()).replace(fields)
