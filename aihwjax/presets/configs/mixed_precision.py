"""Mixed precision: gradients are summed digitally, weights are analog (spec: presets, section 5.8)."""

from __future__ import annotations

from typing import Any

from aihwjax.compounds import MixedPrecisionCompound
from aihwjax.devices.device import Device
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


def mixed_precision(device: Device) -> TileConfig:
    """Return a tile with a digital sum of gradients in front of an array of such devices."""
    return training_tile(MixedPrecisionCompound(device=device))


@preset("mixed precision")
def MixedPrecisionReRamESPreset(**fields: Any) -> TileConfig:
    """Mixed precision, a digital gradient sum in front of ReRAM with exponential steps.

    When to use: if a digital memory of the size of the weights is affordable: gradients are summed
    digitally and written row by row in whole steps, at most 31 pulses a row and mini-batch.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406); device:
    Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return mixed_precision(ReRamESPresetDevice()).replace(fields)


@preset("mixed precision")
def MixedPrecisionReRamSBPreset(**fields: Any) -> TileConfig:
    """Mixed precision, a digital gradient sum in front of ReRAM with soft bounds.

    When to use: if a digital memory of the size of the weights is affordable: gradients are summed
    digitally and written row by row in whole steps, at most 31 pulses a row and mini-batch.
    ``subtract_symmetry_point`` is off.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406); device:
    Gong et al., Nature Communications 2018 (doi:10.1038/s41467-018-04485-1).
    """
    return mixed_precision(ReRamSBPresetDevice()).replace(fields)


@preset("mixed precision")
def MixedPrecisionCapacitorPreset(**fields: Any) -> TileConfig:
    """Mixed precision, a digital gradient sum in front of capacitor cells.

    When to use: if a digital memory of the size of the weights is affordable: gradients are summed
    digitally and written row by row in whole steps, at most 31 pulses a row and mini-batch. Only the
    array leaks.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406); device: Li
    et al., VLSI Technology 2018 (IEEE 8510648).
    """
    return mixed_precision(CapacitorPresetDevice()).replace(fields)


@preset("mixed precision")
def MixedPrecisionEcRamPreset(**fields: Any) -> TileConfig:
    """Mixed precision, a digital gradient sum in front of lithium ECRAM.

    When to use: if a digital memory of the size of the weights is affordable: gradients are summed
    digitally and written row by row in whole steps, at most 31 pulses a row and mini-batch.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406); device:
    Tang et al., IEDM 2018 (IEEE 8614551).
    """
    return mixed_precision(EcRamPresetDevice()).replace(fields)


@preset("mixed precision")
def MixedPrecisionEcRamMOPreset(**fields: Any) -> TileConfig:
    """Mixed precision, a digital gradient sum in front of metal-oxide ECRAM.

    When to use: if a digital memory of the size of the weights is affordable: gradients are summed
    digitally and written row by row in whole steps, at most 31 pulses a row and mini-batch.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406); device:
    Kim et al., IEDM 2019 (IEEE 8993463).
    """
    return mixed_precision(EcRamMOPresetDevice()).replace(fields)


@preset("mixed precision")
def MixedPrecisionIdealizedPreset(**fields: Any) -> TileConfig:
    """Mixed precision, a digital gradient sum in front of idealised devices.

    When to use: if a digital memory of the size of the weights is affordable: gradients are summed
    digitally and written row by row in whole steps, at most 31 pulses a row and mini-batch. Mostly a
    check of the algorithm.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406); device:
    Rasch, Gokmen and Haensch, IEEE Design & Test 2019 (arXiv:1906.02698).
    """
    return mixed_precision(IdealizedPresetDevice()).replace(fields)


@preset("mixed precision")
def MixedPrecisionGokmenVlasovPreset(**fields: Any) -> TileConfig:
    """Mixed precision, a digital gradient sum in front of constant-step devices.

    When to use: if a digital memory of the size of the weights is affordable: gradients are summed
    digitally and written row by row in whole steps, at most 31 pulses a row and mini-batch.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406); device:
    Gokmen and Vlasov, Frontiers in Neuroscience 2016 (doi:10.3389/fnins.2016.00333).
    """
    return mixed_precision(GokmenVlasovPresetDevice()).replace(fields)


@preset("mixed precision")
def MixedPrecisionPCMPreset(**fields: Any) -> TileConfig:
    """Mixed precision, a digital gradient sum in front of pairs of phase-change devices.

    When to use: if a digital memory of the size of the weights is affordable: gradients are summed
    digitally and written row by row in whole steps, at most 31 pulses a row and mini-batch. The case of
    the paper.

    Source: Nandakumar et al., Frontiers in Neuroscience 2020 (doi:10.3389/fnins.2020.00406).
    """
    return mixed_precision(PCMPresetUnitCell()).replace(fields)
