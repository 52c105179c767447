"""One device at each crosspoint, plain gradient descent (spec: presets, section 5.1)."""

from __future__ import annotations

from typing import Any

from aihwjax.presets.compounds import PCMPresetUnitCell
from aihwjax.presets.configs.parts import training_tile
from aihwjax.presets.devices import (
    CapacitorPresetDevice,
    EcRamMOPresetDevice,
    EcRamPresetDevice,
    GokmenVlasovPresetDevice,
    IdealizedPresetDevice,
    ReRamESPresetDevice,
    ReRamSBPresetDevice,
)
from aihwjax.presets.registry import preset
from aihwjax.tile.config import TileConfig


@preset("single device")
def ReRamESPreset(**fields: Any) -> TileConfig:
    """Plain gradient descent with pulses on ReRAM with exponential steps.

    When to use: to see what plain gradient descent reaches on a measured, asymmetric ReRAM; it trains
    poorly, because the symmetry point of the device is not at zero. The baseline of the Tiki-Taka
    presets.

    Source: Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return training_tile(ReRamESPresetDevice()).replace(fields)


@preset("single device")
def ReRamSBPreset(**fields: Any) -> TileConfig:
    """Plain gradient descent with pulses on ReRAM with soft bounds.

    When to use: to see what plain gradient descent reaches on a soft-bounds ReRAM.
    ``subtract_symmetry_point`` is off; the presets of the Tiki-Taka family switch it on.

    Source: Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return training_tile(ReRamSBPresetDevice()).replace(fields)


@preset("single device")
def CapacitorPreset(**fields: Any) -> TileConfig:
    """Plain gradient descent with pulses on capacitor cells.

    When to use: for a nearly symmetric device that trains well with plain gradient descent, as long as
    its leakage is slow compared to the training.

    Source: Li et al., VLSI Technology 2018 (IEEE 8510648).
    """
    return training_tile(CapacitorPresetDevice()).replace(fields)


@preset("single device")
def EcRamPreset(**fields: Any) -> TileConfig:
    """Plain gradient descent with pulses on lithium ECRAM.

    When to use: for plain gradient descent on a fairly linear device with 1000 states.

    Source: Tang et al., IEDM 2018 (IEEE 8614551).
    """
    return training_tile(EcRamPresetDevice()).replace(fields)


@preset("single device")
def EcRamMOPreset(**fields: Any) -> TileConfig:
    """Plain gradient descent with pulses on metal-oxide ECRAM.

    When to use: for plain gradient descent on a device with very small but noisy steps.

    Source: Kim et al., IEDM 2019 (IEEE 8993463).
    """
    return training_tile(EcRamMOPresetDevice()).replace(fields)


@preset("single device")
def IdealizedPreset(**fields: Any) -> TileConfig:
    """Plain gradient descent with pulses on idealised devices.

    When to use: as the upper end of what plain gradient descent on pulsed devices reaches.

    Source: Rasch, Gokmen and Haensch, IEEE Design & Test 2019 (arXiv:1906.02698).
    """
    return training_tile(IdealizedPresetDevice()).replace(fields)


@preset("single device")
def GokmenVlasovPreset(**fields: Any) -> TileConfig:
    """Plain gradient descent with pulses on constant-step devices.

    When to use: as the standard case of the literature, and as the first preset to try.

    Source: Gokmen and Vlasov, Frontiers in Neuroscience 2016 (doi:10.3389/fnins.2016.00333).
    """
    return training_tile(GokmenVlasovPresetDevice()).replace(fields)


@preset("single device")
def PCMPreset(**fields: Any) -> TileConfig:
    """Plain gradient descent with pulses on pairs of phase-change devices.

    When to use: for plain gradient descent on phase change memory; the pairs are refreshed after every
    mini-batch.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406).
    """
    return training_tile(PCMPresetUnitCell()).replace(fields)
