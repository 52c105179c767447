"""What a compound refuses, before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable

import jax
import pytest

import aihwjax as aj
from aihwjax.errors import ConfigError
from tests.compounds.ideal import device, pair

MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "no device": (lambda: aj.VectorUnitCell(), "unit_cell_devices"),
    "an exact device": (lambda: aj.VectorUnitCell(unit_cell_devices=[aj.IdealDevice()]), r"unit_cell_devices\[0\]"),
    "not a device": (lambda: aj.VectorUnitCell(unit_cell_devices=[3]), r"unit_cell_devices\[0\]"),
    "not a list": (lambda: aj.VectorUnitCell(unit_cell_devices=device()), "list of Device"),
    "gamma of another length": (lambda: aj.VectorUnitCell(unit_cell_devices=pair(), gamma_vec=[1.0]), "give 2 numbers"),
    "first index": (lambda: aj.VectorUnitCell(unit_cell_devices=pair(), first_update_idx=2), "give 0 to 1"),
    "policy": (lambda: aj.VectorUnitCell(unit_cell_devices=pair(), update_policy="SINGLE"), "SINGLE_FIXED"),
    "three in a reference cell": (lambda: aj.ReferenceUnitCell(unit_cell_devices=[device()] * 3), "one or two"),
    "three in a pair": (lambda: aj.OneSidedUnitCell(unit_cell_devices=[device()] * 3), "one or two"),
    "different devices in a pair": (
        lambda: aj.OneSidedUnitCell(unit_cell_devices=[device(), aj.SoftBoundsDevice()]),
        "ConstantStepDevice like the first",
    ),
    "a cell in a pair": (
        lambda: aj.OneSidedUnitCell(unit_cell_devices=[aj.VectorUnitCell(unit_cell_devices=pair())]),
        "single pulsed device",
    ),
    "one device in a transfer": (lambda: aj.TransferCompound(unit_cell_devices=[device()]), "at least two"),
    "last gamma zero": (lambda: aj.TransferCompound(unit_cell_devices=pair(), gamma_vec=[1.0, 0.0]), "last number"),
    "rates of another length": (
        lambda: aj.TransferCompound(unit_cell_devices=pair(), transfer_lr_vec=[1.0]),
        "transfer_lr_vec",
    ),
    "no reads": (lambda: aj.TransferCompound(unit_cell_devices=pair(), n_reads_per_transfer=0), "at least 1"),
    "reset of rows": (
        lambda: aj.TransferCompound(unit_cell_devices=pair(), transfer_columns=False, with_reset_prob=0.1),
        "transfer_columns=False",
    ),
    "three in a chopped": (lambda: aj.ChoppedTransferCompound(unit_cell_devices=[device()] * 3), "give two"),
    "reads of a chopped": (
        lambda: aj.ChoppedTransferCompound(unit_cell_devices=pair(), n_reads_per_transfer=2),
        "n_reads_per_transfer=2",
    ),
    "random slices of a chopped": (
        lambda: aj.DynamicTransferCompound(unit_cell_devices=pair(), random_selection=True),
        "random_selection=True",
    ),
    "reset in a chopped": (
        lambda: aj.ChoppedTransferCompound(unit_cell_devices=pair(), with_reset_prob=0.5),
        "with_reset_prob",
    ),
    "flip probability": (lambda: aj.ChoppedTransferCompound(unit_cell_devices=pair(), in_chop_prob=1.5), "at most 1"),
    "one level": (lambda: aj.MixedPrecisionCompound(device=device(), n_x_bins=1), "at least 2"),
    "fraction of a batch": (lambda: aj.MixedPrecisionCompound(device=device(), transfer_every=1.5), "whole number"),
    "exact device in mixed precision": (lambda: aj.MixedPrecisionCompound(device=aj.IdealDevice()), "pulsed device"),
    "no device in a configuration": (lambda: aj.UnitCellRPUConfig(), "'device'"),
    "no device in a digital configuration": (lambda: aj.DigitalRankUpdateRPUConfig(), "'device'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name: str) -> None:
    build, message = MISTAKES[name]
    with pytest.raises(ConfigError, match=message):
        build()


def test_an_unknown_device_of_a_cell_is_refused() -> None:
    config = aj.UnitCellRPUConfig(device=aj.VectorUnitCell(unit_cell_devices=pair()))
    state = aj.tile.init(config, jax.random.key(0), (2, 2))
    with pytest.raises(ConfigError, match="give 0 to 1"):
        aj.tile.set_hidden_update_index(config, state, 2)


def test_fields_of_one_device_are_replaced_by_their_number() -> None:
    config = aj.UnitCellRPUConfig(device=aj.TransferCompound(unit_cell_devices=pair()))
    changed = aj.config.replace(config, {"device.unit_cell_devices.1.dw_min": 0.02, "device.gamma": 0.1})
    assert [each.dw_min for each in changed.device.unit_cell_devices] == [0.001, 0.02]
    with pytest.raises(ConfigError, match="no entry '2'"):
        aj.config.replace(config, {"device.unit_cell_devices.2.dw_min": 0.02})
    assert aj.config.from_toml(aj.config.to_toml(changed)) == changed
