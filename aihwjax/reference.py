"""Configurations of the reference, as flat dictionaries (``aj.config.from_reference``).

A flat dictionary holds one entry a field, under its dotted path, and the class of every group
under ``__class__``::

    {"__class__": "SingleRPUConfig", "device.__class__": "ConstantStepDevice", "device.dw_min": 0.01}

Lists have an entry ``__len__`` and numbered entries, enums read ``"PulseType.NONE"``. Preset
classes stand for the class they are derived from; their values are all in the dictionary.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeAlias

from aihwjax.config import Config, registered
from aihwjax.config.documents import reads
from aihwjax.devices.device import Device
from aihwjax.errors import ConfigError, nearest
from aihwjax.inference.conductance import ConductanceConverter
from aihwjax.inference.noise import NoiseModel
from aihwjax.quantization.config import QuantConfig
from aihwjax.tile.config import FloatingPointRPUConfig, TileConfig, chip_parts, inference_parts

Value: TypeAlias = bool | int | float | str | None
"""What an entry of a flat dictionary can be."""
_Tree: TypeAlias = "dict[str, _Tree | Value]"
_HINTS: dict[type[Config], dict[str, Any]] = {}

_TAG, _LENGTH = "__class__", "__len__"

PRESET_DEVICES = {
    "ReRamESPresetDevice": "ExpStepDevice",
    "ReRamSBPresetDevice": "SoftBoundsReferenceDevice",
    "CapacitorPresetDevice": "LinearStepDevice",
    "EcRamPresetDevice": "LinearStepDevice",
    "EcRamMOPresetDevice": "LinearStepDevice",
    "IdealizedPresetDevice": "ConstantStepDevice",
    "GokmenVlasovPresetDevice": "ConstantStepDevice",
    "PCMPresetDevice": "ExpStepDevice",
    "ReRamArrayOMPresetDevice": "SoftBoundsReferenceDevice",
    "ReRamArrayHfO2PresetDevice": "SoftBoundsReferenceDevice",
}
"""Device presets of the reference and the class each is derived from (spec: presets, section 2)."""

PRESET_PARTS = {
    "PresetIOParameters": "IOParameters",
    "StandardIOParameters": "IOParameters",
    "PresetUpdateParameters": "UpdateParameters",
}
"""Presets of parts of a tile and the class each is derived from (spec: presets, section 1)."""

_WEB_PARTS = {
    "WebComposerIOParameters": "IOParameters",
    "WebComposerMappingParameter": "MappingParameter",
    "OldWebComposerMappingParameter": "MappingParameter",
    "WebComposerWeightClipParameter": "WeightClipParameter",
    "WebComposerWeightModifierParameter": "WeightModifierParameter",
}
"""Parts of the inference presets of the reference's service."""

_OTHER_NAMES = {
    "SimpleDriftParameter": "DriftParameter",
    "PCMPresetUnitCell": "OneSidedUnitCell",
    "DifferenceUnitCell": "OneSidedUnitCell",
}
_ALIASES = {**PRESET_DEVICES, **PRESET_PARTS, **_WEB_PARTS, **_OTHER_NAMES}

_TILES = {"SingleRPUConfig", "UnitCellRPUConfig", "DigitalRankUpdateRPUConfig", "FloatingPointRPUConfig"}
_INFERENCE = {
    "InferenceRPUConfig": False,
    "TorchInferenceRPUConfig": True,
    "QuantizedTorchInferenceRPUConfig": True,
    "TorchInferenceRPUConfigIRDropT": True,
    "StandardHWATrainingPreset": False,
    "WebComposerInferenceRPUConfig": False,
    "OldWebComposerInferenceRPUConfig": False,
}
"""Configurations and presets of inference tiles, and whether they are on the torch tile."""
_TIMED = "TorchInferenceRPUConfigIRDropT"
"""The one whose forward product has parameters of its own."""
_QUANTIZED = "QuantizedTorchInferenceRPUConfig"
"""The one whose scales and outputs can be quantised."""
_TILES |= set(_INFERENCE)
_FAMILIES = ("TikiTaka", "TTv2", "ChoppedTTv2", "AGAD", "MixedPrecision", "")
_PRESETS = {
    f"{family}{device.removesuffix('Device')}"
    for family in _FAMILIES
    for device in PRESET_DEVICES
    if not device.startswith("ReRamArray")
}
_PRESETS |= {
    f"{device}{count}Preset"
    for device in ("ReRamES", "ReRamSB", "Capacitor", "EcRam", "EcRamMO", "Idealized")
    for count in (2, 4)
}
"""Tile presets for training (spec: presets, section 5): a device and nothing that is not in the dictionary."""

_OWN = {
    "reference_quirks", "torch_tile", "own_product", "own_update", "input_bits", "discarded_decays",
    "discarded_diffuses",
}  # fmt: skip
"""Fields that the reference has not."""
_ESTIMATOR_CLASSES = "_range_estimator_to_params"
_NO_PART = {"runtime", "tile_class", "tile_array_class"}
"""Groups of a tile configuration that play no part in the physics of one tile."""


@reads("reference")
def from_reference(flat: Mapping[str, Value]) -> TileConfig:
    """Build the tile configuration that a flat dictionary of the reference describes.

    The result has ``reference_quirks=True``: it answers what the reference would have done.
    Fields that are not given have their defaults, except under a preset's class, whose values
    have to be listed.

    Example:
        >>> flat = {"__class__": "SingleRPUConfig", "device.__class__": "ConstantStepDevice", "device.dw_min": 0.01}
        >>> from_reference(flat).device.dw_min
        0.01

    Args:
        flat: Dotted path to value, with class tags; see the module docstring.

    Raises:
        ConfigError: If a class or field is unknown, a value is not allowed, or the class tag is missing.
    """
    tree = _nested(flat)
    tag = tree.pop(_TAG, None)
    if tag is None:
        raise ConfigError(f"the reference configuration has no entry {_TAG!r}: give for example 'SingleRPUConfig'")
    fields = {name: value for name, value in tree.items() if name not in _NO_PART}
    if tag == _TIMED and isinstance(forward := fields.setdefault("forward", {}), dict):
        forward.setdefault(_TAG, "IOParametersIRDropT")
    if tag == _QUANTIZED and isinstance(pre_post := fields.setdefault("pre_post", {}), dict):
        pre_post.setdefault(_TAG, "PrePostProcessingParameterQuant")
    values = _fields(TileConfig, fields, path="")
    if tag not in _TILES | _PRESETS:
        raise ConfigError(f"unknown tile configuration class {tag!r}{nearest(str(tag), _TILES | _PRESETS)}")
    if tag in _INFERENCE:
        values = {"torch_tile": _INFERENCE[str(tag)], **inference_parts(), **chip_parts(), **values}
    build = FloatingPointRPUConfig if tag == "FloatingPointRPUConfig" else TileConfig
    return build(**{**values, "reference_quirks": True})


def _nested(flat: Mapping[str, Value]) -> _Tree:
    tree: _Tree = {}
    for path, value in flat.items():
        *groups, name = path.split(".")
        place = tree
        for depth, group in enumerate(groups):
            inner = place.setdefault(group, {})
            if not isinstance(inner, dict):
                where = ".".join(groups[: depth + 1])
                raise ConfigError(f"{where}={inner!r} has no fields, so {path!r} does not exist")
            place = inner
        if isinstance(place.get(name), dict):
            raise ConfigError(f"{path}={value!r} is not allowed: {path!r} also has fields")
        place[name] = value
    return tree


def _hints(cls: type[Config]) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


def _fields(cls: type[Config], tree: _Tree, path: str) -> dict[str, Any]:
    """Return the keyword arguments of ``cls`` that a group describes."""
    hints = _hints(cls)
    known = {field.name for field in dataclasses.fields(cls)} - _OWN  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in tree.items():
        where = f"{path}.{name}" if path else name
        if name not in known:
            raise ConfigError(f"unknown field {where!r} of {cls.__name__}{nearest(name, known)}")
        values[name] = _value(value, hints[name], where)
    return values


def _value(value: _Tree | Value, hint: object, path: str) -> object:
    if not isinstance(value, dict):
        return value
    if value.get(_TAG) == "dict":
        return _mapping(value, path)
    if _LENGTH in value:
        return _list(value, path)
    return _group(value, hint, path)


def _list(tree: _Tree, path: str) -> tuple[object, ...]:
    length = tree[_LENGTH]
    names = [str(i) for i in range(length)] if isinstance(length, int) and length >= 0 else []
    if not isinstance(length, int) or set(names) != set(tree) - {_LENGTH, _TAG}:
        given = sorted(set(tree) - {_LENGTH, _TAG})
        raise ConfigError(f"{path}.{_LENGTH}={length!r} does not fit the entries {', '.join(given) or 'given: none'}")
    return tuple(_value(tree[name], None, f"{path}.{name}") for name in names)


def _mapping(tree: _Tree, path: str) -> dict[Any, object]:
    """Return a dictionary of the reference; with numbers as keys, each entry has a ``key`` and a ``value``."""
    entries = {name: value for name, value in tree.items() if name not in (_TAG, _LENGTH)}
    if _LENGTH not in tree:
        return {name: _value(value, None, f"{path}.{name}") for name, value in entries.items()}
    found: dict[Any, object] = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) != {"key", "value"}:
            raise ConfigError(f"{path}.{name} is not allowed: give {path}.{name}.key and {path}.{name}.value")
        found[entry["key"]] = _value(entry["value"], None, f"{path}.{name}.value")
    return found


def _group(tree: _Tree, hint: object, path: str) -> Config:
    tag = tree.get(_TAG)
    if tag is None:
        if not (isinstance(hint, type) and issubclass(hint, Config)) or hint is Device:
            raise ConfigError(f"{path} has no entry {_TAG!r} that names its class")
        tag = hint.__name__
    cls = _class(str(tag), path, device=isinstance(hint, type) and issubclass(hint, Device))
    entries = {name: value for name, value in tree.items() if name != _TAG}
    if issubclass(cls, QuantConfig):  # its own names of two fields, and a table of classes
        entries = {name.removeprefix("_"): value for name, value in entries.items() if name != _ESTIMATOR_CLASSES}
    values = _fields(cls, entries, path)
    if tag in {**PRESET_DEVICES, **PRESET_PARTS, **_WEB_PARTS}:
        _check_complete(str(tag), cls, values, path)
    if issubclass(cls, NoiseModel | ConductanceConverter):
        # None stands for what is not given, and a converter's own range for that of the model
        values = {name: value for name, value in values.items() if value is not None}
        if "g_converter" in values:
            values.pop("g_max", None)
    if issubclass(cls, Device | NoiseModel):
        # some of what these refuse is allowed under the quirks, so they are on from the start
        values["reference_quirks"] = True
    return cls(**values)


def _class(tag: str, path: str, *, device: bool) -> type[Config]:
    kind = "device class" if device else "class"
    try:
        return registered(_ALIASES.get(tag, tag))
    except ConfigError as error:
        hint = nearest(tag, _ALIASES) or str(error).partition(repr(tag))[2]
        raise ConfigError(f"unknown {kind} {tag!r} at {path}.{_TAG}{hint}") from None


def _check_complete(tag: str, cls: type[Config], values: dict[str, Any], path: str) -> None:
    """Refuse a preset whose values are not listed: the class's own defaults would be wrong."""
    numbers = [field.name for field in dataclasses.fields(cls) if "number" in field.metadata]  # type: ignore[arg-type]
    missing = [name for name in numbers if name not in values]
    if missing:
        raise ConfigError(f"{path}.{_TAG}={tag!r} stands for values of its own: give {path}.{missing[0]} too")
