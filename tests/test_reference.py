"""Configurations of the reference as flat dictionaries."""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import Any

import numpy as np
import pytest

from aihwjax import presets
from aihwjax.devices.exp_step import ExpStepDevice
from aihwjax.devices.linear_step import LinearStepDevice
from aihwjax.devices.piecewise_step import PiecewiseStepDevice
from aihwjax.devices.soft_bounds_pmax import SoftBoundsPmaxDevice
from aihwjax.errors import ConfigError
from aihwjax.fidelity import load
from aihwjax.pulses import PulseType
from aihwjax.reference import PRESET_DEVICES, from_reference
from aihwjax.tile.product.io import NoiseManagementType
from tests.golden.data import FOLDER

CASES = {case.name: case for case in load(FOLDER)}
SINGLE = {"__class__": "SingleRPUConfig", "device.__class__": "ConstantStepDevice"}


HANDED_ON = {f"noise_model.{name}": f"noise_model.g_converter.{name}" for name in ("g_max", "g_min")}
"""Fields that another one takes over."""
OURS = {"value": "coeff"}
"""Names of entries of a dictionary of the reference, and of our fields."""


def entry(config: object, path: str) -> Any:
    """Return what a built configuration holds at a path of the flat dictionary."""
    for name in HANDED_ON.get(path, path).split("."):
        config = config[int(name)] if isinstance(config, tuple | np.ndarray) else getattr(config, OURS.get(name, name))
    return f"{type(config).__name__}.{config.name}" if isinstance(config, enum.Enum) else config


DISCARDED = re.compile("-(second|third)-")
"""Cases in which the reference replaces one of the devices that it was given, and so do we."""


@pytest.mark.parametrize("name", [name for name in CASES if not DISCARDED.search(name)])
def test_every_recorded_value_arrives(name: str) -> None:
    flat = CASES[name].config
    config = from_reference(flat)
    assert config.reference_quirks
    assert config.device.reference_quirks
    values = {path: value for path, value in flat.items() if not path.endswith(("__class__", "__len__"))}
    # what a noise model is not given is filled in
    values = {path: value for path, value in values.items() if value is not None or "noise_model." not in path}
    assert {path: entry(config, path) for path in values} == values


def test_every_device_preset_is_met() -> None:
    tags = {case.config["device.__class__"] for case in CASES.values()}
    assert set(PRESET_DEVICES) <= tags


@pytest.mark.parametrize(
    ("case", "device"),
    [
        ("ReRamESPresetDevice", ExpStepDevice),
        ("EcRamPresetDevice", LinearStepDevice),
        ("SoftBoundsPmax", SoftBoundsPmaxDevice),
        ("PiecewiseStep-1", PiecewiseStepDevice),
    ],
)
def test_tag_gives_the_class(case: str, device: type) -> None:
    assert type(from_reference(CASES[f"device_parameters/{case}"].config).device) is device


def test_whole_numbers_are_taken_for_floats() -> None:
    device = from_reference({**SINGLE, "device.corrupt_devices_range": 800}).device
    assert isinstance(device.corrupt_devices_range, float)  # type: ignore[attr-defined]


def test_lists_become_tuples() -> None:
    flat = {
        "__class__": "SingleRPUConfig",
        "device.__class__": "PiecewiseStepDevice",
        "device.piecewise_up.__len__": 2,
        "device.piecewise_up.0": 1,
        "device.piecewise_up.1": 0.5,
        "device.piecewise_down.__len__": 2,
        "device.piecewise_down.0": 0.2,
        "device.piecewise_down.1": 1.0,
    }
    device = from_reference(flat).device
    assert isinstance(device, PiecewiseStepDevice)
    assert device.piecewise_up == (1.0, 0.5)


def test_enums_are_read_with_their_class() -> None:
    config = from_reference({**SINGLE, "update.pulse_type": "PulseType.MEAN_COUNT"})
    assert config.update.pulse_type is PulseType.MEAN_COUNT


def test_missing_parts_have_their_defaults() -> None:
    assert from_reference(SINGLE).forward.noise_management is NoiseManagementType.ABS_MAX


def test_floating_point_has_perfect_products() -> None:
    config = from_reference({"__class__": "FloatingPointRPUConfig", "device.__class__": "FloatingPointDevice"})
    assert config.forward.is_perfect
    assert config.backward.is_perfect


@pytest.mark.parametrize("group", ["runtime", "tile_class"])
def test_groups_without_part_are_left_out(group: str) -> None:
    assert from_reference({**SINGLE, f"{group}.__class__": "Whatever", f"{group}.x": 1}) == from_reference(SINGLE)


def test_dictionaries_become_parts() -> None:
    flat = {"__class__": "InferenceRPUConfig", "noise_model.__class__": "ReRamWan2022NoiseModel"}
    tables = {"coeff_dic.__class__": "dict", "coeff_dic.__len__": 1, "coeff_dic.0.key": 5.0, "coeff_dic.0.value.0": 2.0}
    tables["coeff_dic.0.value.__len__"] = 1
    model = from_reference(flat | {f"noise_model.{name}": value for name, value in tables.items()}).noise_model
    assert [(entry.key, entry.coeff) for entry in model.coeff_dic] == [(5.0, (2.0,))]
    assert model.reference_quirks


def test_a_converter_has_its_own_range() -> None:
    flat = {"noise_model.__class__": "PCMLikeNoiseModel", "noise_model.g_max": 40.0}
    flat["noise_model.g_converter.__class__"] = "SinglePairConductanceConverter"
    model = from_reference(
        {"__class__": "InferenceRPUConfig", **flat, "noise_model.g_converter.g_max": 20.0}
    ).noise_model
    assert model.g_converter.g_max == 20.0


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({**SINGLE, "noise_model.__class__": "PCMNoiseModel"}, "unknown class 'PCMNoiseModel' at noise_model"),
        ({}, "no entry '__class__'"),
        ({"__class__": "SingleRPUConfg"}, "unknown tile configuration class.*'SingleRPUConfig'"),
        ({**SINGLE, "device.__class__": "ThreeStepDevice"}, "unknown device class 'ThreeStepDevice' at device"),
        ({**SINGLE, "device.__class__": "ReRamESPresetDevic"}, "did you mean 'ReRamESPresetDevice'"),
        ({**SINGLE, "device.dw_mni": 0.1}, "unknown field 'device.dw_mni' of ConstantStepDevice.*'dw_min'"),
        ({**SINGLE, "device.drift.nuu": 0.1}, "unknown field 'device.drift.nuu'"),
        ({**SINGLE, "novel.field": 1}, "unknown field 'novel'"),
        ({**SINGLE, "device.dw_min": "small"}, "ConstantStepDevice.dw_min='small'"),
        ({**SINGLE, "device.dw_min": None}, "ConstantStepDevice.dw_min=None"),
        ({**SINGLE, "update.pulse_type": "PulseType.SOME"}, "UpdateParameters.pulse_type='PulseType.SOME'"),
        ({**SINGLE, "forward.__class__": "UpdateParameters"}, "TileConfig.forward"),
        ({"__class__": "SingleRPUConfig", "device.dw_min": 0.1}, "device has no entry '__class__'"),
        ({**SINGLE, "device.dw_min.x": 1, "device.dw_min": 1}, "also has fields"),
        ({**SINGLE, "device.dw_min": 1, "device.dw_min.x": 1}, "has no fields"),
        ({**SINGLE, "device.list.__len__": 2, "device.list.0": 1}, "device.list|'device.list'"),
        ({"__class__": "ReRamESPreset", "device.__class__": "ReRamESPresetDevice"}, "stands for values of its own"),
    ],
)
def test_mistakes_are_named(flat: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_reference(flat)


def flattened(value: Any, path: str, tags: dict[str, str]) -> dict[str, Any]:
    """Return the entries of a configuration under dotted paths; ``tags`` has class names of the reference."""
    if dataclasses.is_dataclass(value):
        name = type(value).__name__
        found: dict[str, Any] = {f"{path}__class__": tags.get(path, name)}
        for field in dataclasses.fields(value):
            if field.name not in ("reference_quirks", "torch_tile", "own_product", "own_update"):
                found |= flattened(getattr(value, field.name), f"{path}{field.name}.", tags)
        return found
    if isinstance(value, enum.Enum):
        value = f"{type(value).__name__}.{value.name}"
    return {path.removesuffix("."): value}


WEB = {"forward.": "WebComposerIOParameters", "modifier.": "WebComposerWeightModifierParameter"}
WEB |= {"clip.": "WebComposerWeightClipParameter"}


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("StandardHWATrainingPreset", {"forward.": "PresetIOParameters"}),
        ("WebComposerInferenceRPUConfig", {**WEB, "mapping.": "WebComposerMappingParameter"}),
        ("OldWebComposerInferenceRPUConfig", {**WEB, "mapping.": "OldWebComposerMappingParameter"}),
    ],
)
def test_inference_presets_arrive(name: str, tags: dict[str, str]) -> None:
    preset = presets.by_name(name)(reference_quirks=True)
    flat = flattened(preset, "", {"": name, **tags})
    values = {path: value for path, value in flat.items() if not str(path).startswith("update_mode")}
    assert from_reference(values) == preset
    assert from_reference({**values, "forward.out_noise": 0.5}).forward.out_noise == 0.5
