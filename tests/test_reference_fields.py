"""Every field of the reference's configurations arrives, at its default and at other values."""

from __future__ import annotations

import enum
import typing
from typing import Any

import pytest

from aihwjax.config import Config, registered
from aihwjax.errors import ConfigError
from aihwjax.reference import from_reference
from tests.reference_fields import FIELDS

PAIR = {
    "device.unit_cell_devices.__len__": 2,
    "device.unit_cell_devices.0.__class__": "ConstantStepDevice",
    "device.unit_cell_devices.1.__class__": "ConstantStepDevice",
}
SINGLE = {"__class__": "SingleRPUConfig", "device.__class__": "ConstantStepDevice"}
INFERENCE = {"__class__": "InferenceRPUConfig"}
QUANTISED = {"__class__": "QuantizedTorchInferenceRPUConfig"}
PLACES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "DriftParameter": (SINGLE, ["device.drift"]),
    "IOParameters": (
        {**PAIR, "__class__": "UnitCellRPUConfig", "device.__class__": "TransferCompound"},
        ["forward", "backward", "device.transfer_forward"],
    ),
    "UpdateParameters": (
        {**PAIR, "__class__": "UnitCellRPUConfig", "device.__class__": "OneSidedUnitCell"},
        ["update", "device.refresh_update"],
    ),
    "MappingParameter": (SINGLE, ["mapping"]),
    "InputRangeParameter": (SINGLE, ["pre_post.input_range"]),
    "PeripheryQuantizationParameter": (QUANTISED, ["pre_post.periph_quant"]),
    "WeightModifierParameter": (INFERENCE, ["modifier"]),
    "WeightClipParameter": (INFERENCE, ["clip"]),
    "WeightRemapParameter": (INFERENCE, ["remap"]),
}
"""What a group is tried in, and the paths under which it is found there."""

OTHERS: dict[type, tuple[Any, ...]] = {int: (0, 2, -1), float: (0.0, 0.5, 2.0), list: ([], [0.5, 1.0])}
"""Values that a field is tried with, by the type of its default."""

REFUSED: dict[str, tuple[Any, ...]] = {
    # probabilities, fractions and inertia
    "corrupt_devices_prob": (2.0,),
    "with_reset_prob": (2.0,),
    "in_chop_prob": (2.0,),
    "out_chop_prob": (2.0,),
    "pdrop": (2.0,),
    "pcm_prob_at_reset": (2.0,),
    "pcm_prob_at_gmax": (2.0,),
    "pcm_prob_at_random": (2.0,),
    "input_min_percentage": (2.0,),
    "output_min_percentage": (2.0,),
    "auto_momentum": (2.0,),
    # divisors
    "dw_min": (0.0,),
    "p_max": (0, -1),
    "alpha": (0.0,),
    "t_0": (0.0,),
    "thres_scale": (0.0,),
    "ir_drop_g_ratio": (0.0,),
    "um_grad_scale": (0.0,),
    "init_value": (0.0,),
    "init_std_alpha": (0.0,),
    "assumed_wmax": (0.0,),
    "g_max": (0.0,),
    "pcm_t0": (0.0,),
    "remapped_wmax": (0.0,),
    # numbers of things
    "desired_bl": (0, -1),
    "first_update_idx": (2, -1),
    "n_reads_per_transfer": (0, -1),
    "n_bits": (-1,),
    "init_learning_after": (0, -1),
    # what the reference refuses when it builds a tile, or at the first update
    "w_min": (0.5, 2.0),
    "range_min": (0.5, 2.0),
    "inp_bound": (0.0, 0.5, 2.0),
    "piecewise_up": ([], [0.5, 1.0]),
    "piecewise_down": ([], [0.5, 1.0]),
    # passes of bits, in IOParametersIRDropT only
    "mv_type": ("AnalogMVType.SPLIT_MODE", "AnalogMVType.BIT_WISE"),
    # not offered
    "per_batch_sample": (True,),
}
"""Values that have no meaning, by field; see also :func:`refused`."""


def refused(name: str, field: str, value: Any) -> bool:
    """Whether a value is refused."""
    if name in ("ChoppedTransferCompound", "DynamicTransferCompound") and field == "n_reads_per_transfer":
        return True
    return any(value == bad and isinstance(value, type(bad)) for bad in REFUSED.get(field, ()))


def placed(name: str) -> tuple[dict[str, Any], list[str]]:
    """Return a flat configuration that has the class, and the paths of its group."""
    if name in PLACES:
        return PLACES[name]
    flat: dict[str, Any] = {"__class__": "SingleRPUConfig", "device.__class__": name}
    if name.endswith(("Cell", "Compound")):
        flat = {**PAIR, "__class__": "UnitCellRPUConfig", "device.__class__": name}
    if name == "MixedPrecisionCompound":
        flat = {"__class__": "DigitalRankUpdateRPUConfig", "device.__class__": name}
        flat["device.device.__class__"] = "ConstantStepDevice"
    return flat, ["device"]


def entries(path: str, value: Any) -> dict[str, Any]:
    """Return a value under its path, a list with its length."""
    if not isinstance(value, list):
        return {path: value}
    return {f"{path}.__len__": len(value), **{f"{path}.{i}": entry for i, entry in enumerate(value)}}


def at(config: Any, path: str) -> Any:
    """Return what a configuration has at a path, as a flat dictionary would write it."""
    for part in path.split("."):
        config = getattr(config, part)
    if isinstance(config, enum.Enum):
        return f"{type(config).__name__}.{config.name}"
    return list(config) if isinstance(config, tuple) else config


def other_values(name: str, field: str, default: Any) -> list[Any]:
    """Return the values that a field is tried with."""
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, str):
        kind = typing.get_type_hints(registered(name))[field]
        return [f"{kind.__name__}.{member.name}" for member in kind]
    return list(OTHERS.get(type(default), ()))


CASES = [
    (name, field, value)
    for name, fields in FIELDS.items()
    for field, default in fields.items()
    for value in other_values(name, field, default)
]


@pytest.mark.parametrize("name", FIELDS)
def test_defaults_are_the_same(name: str) -> None:
    flat, paths = placed(name)
    for path in paths:
        given = {}
        for field, value in FIELDS[name].items():
            given |= entries(f"{path}.{field}", value)
        config = from_reference({**flat, **given})
        assert {field: at(config, f"{path}.{field}") for field in FIELDS[name]} == FIELDS[name]
        assert from_reference(flat) == config


@pytest.mark.parametrize("name", FIELDS)
def test_other_values_arrive_or_are_refused(name: str) -> None:
    flat, paths = placed(name)
    for case, field, value in CASES:
        if case != name:
            continue
        for path in paths:
            given = {**flat, **entries(f"{path}.{field}", value)}
            if refused(name, field, value):
                with pytest.raises(ConfigError, match=field):
                    from_reference(given)
                continue
            config = from_reference(given)
            assert config.reference_quirks
            assert at(config, f"{path}.{field}") == value, f"{path}.{field}"


@pytest.mark.parametrize("policy", ["ALL", "SINGLE_SEQUENTIAL", "SINGLE_RANDOM"])
def test_a_reference_cell_takes_another_policy(policy: str) -> None:
    flat, _ = placed("ReferenceUnitCell")
    cell: Any = from_reference({**flat, "device.update_policy": f"VectorUnitCellUpdatePolicy.{policy}"}).device
    assert isinstance(cell, Config)
    assert cell.update_policy.name == policy


def test_a_reference_cell_leaves_out_what_is_more_than_two() -> None:
    flat, _ = placed("ReferenceUnitCell")
    three = {**flat, "device.unit_cell_devices.__len__": 3, "device.unit_cell_devices.2.__class__": "SoftBoundsDevice"}
    cell: Any = from_reference(three).device
    assert [type(device).__name__ for device in cell.unit_cell_devices] == ["ConstantStepDevice"] * 2
