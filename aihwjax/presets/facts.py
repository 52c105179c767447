"""What a preset comes to: what differs from the defaults, how large a step is, how many states there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from aihwjax.config import Config, defaults, to_dict
from aihwjax.devices.base import Device, PulsedDevice, WriteNoiseDevice
from aihwjax.tile.config import TileConfig


def differing(config: Config) -> dict[str, object]:
    """Return the fields in which a configuration differs from the defaults of its class.

    A part of another class than the default's is compared with its own class, and the class is
    entered under ``<path>.class``.

    Example:
        >>> import aihwjax as aj
        >>> differing(aj.presets.GokmenVlasovPresetDevice())
        {'dw_min': 0.0016, 'w_max': 1.0, 'w_min': -1.0}

    Args:
        config: Any configuration.
    """
    return _differing(config, defaults(type(config)), "")


class Facts(NamedTuple):
    """Numbers that follow from the fields of a device."""

    device: str
    """Class of the device at the crosspoint; the first one of a cell."""
    granularity: float
    """Mean size of a pulse, in weight units."""
    states: float
    """Range of the weight over the granularity."""
    write_noise: float
    """Standard deviation of the write noise, in weight units."""


def facts(config: Config) -> Facts | None:
    """Return the numbers of the first pulsed device in a configuration; ``None`` without one.

    Example:
        >>> import aihwjax as aj
        >>> round(facts(aj.presets.GokmenVlasovPreset()).states)
        1250

    Args:
        config: A device, a cell or a tile.
    """
    device = crosspoint(config)
    if device is None:
        return None
    granularity = float(device.weight_granularity())
    noise = device.write_noise() if isinstance(device, WriteNoiseDevice) else None
    states = float(device.w_max - device.w_min) / granularity
    return Facts(type(device).__name__, granularity, states, float(noise or 0.0))


def crosspoint(config: Config) -> PulsedDevice | None:
    """Return the first pulsed device in a device, a cell or a tile; ``None`` without one."""
    if isinstance(config, PulsedDevice):
        return config
    cells = getattr(config, "unit_cell_devices", None) or (getattr(config, "device", None),)
    inner = [crosspoint(cell) for cell in cells if isinstance(cell, Config)]
    return next((device for device in inner if device is not None), None)


def sparse(config: Config) -> dict[str, object]:
    """Return a document of a configuration without the fields that a reader fills in.

    :func:`aihwjax.config.from_dict` gives an equal configuration, and so does putting the document
    over the defaults of a file's section. A field is left out if it has the default of its own
    class *and* that of the part in the class around it, which may differ.

    Args:
        config: Any configuration.
    """
    return _sparse(config, {})


def kind(config: Config) -> str:
    """Return what a configuration describes: ``"tile"``, ``"device"`` or ``"parameters"``."""
    if isinstance(config, TileConfig):
        return "tile"
    return "device" if isinstance(config, Device) else "parameters"


def _sparse(config: Config, around: Mapping[str, object]) -> dict[str, object]:
    own, full = defaults(type(config)), to_dict(config)
    document: dict[str, object] = {"class": type(config).__name__}
    for name, value in _values(config).items():
        default = own.get(name)
        if value is None or (_same(value, default) and _same(value, around.get(name, default))):
            continue
        inner = _values(default) if isinstance(value, Config) and type(value) is type(default) else {}
        if isinstance(value, Config):
            document[name] = _sparse(value, inner)
        elif isinstance(value, tuple) and any(isinstance(entry, Config) for entry in value):
            document[name] = [_sparse(entry, {}) for entry in value]
        else:
            document[name] = full[name]
    return document


def _differing(config: Config, default: Mapping[str, object], path: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in _values(config).items():
        if name == "reference_quirks" and path:
            continue  # the tile's choice, handed down
        found.update(_compared(value, default.get(name), f"{path}.{name}" if path else name))
    return found


def _compared(value: object, default: object, path: str) -> dict[str, object]:
    if isinstance(value, Config):
        if type(value) is type(default):
            return _differing(value, _values(default), path)
        return {f"{path}.class": type(value).__name__, **_differing(value, defaults(type(value)), path)}
    if isinstance(value, tuple) and any(isinstance(entry, Config) for entry in value):
        found: dict[str, object] = {}
        for i, entry in enumerate(value):
            found.update(_compared(entry, None, f"{path}[{i}]"))
        return found
    return {} if _same(value, default) else {path: value}


def _same(value: object, default: object) -> bool:
    if isinstance(value, Config) or isinstance(default, Config):
        return value == default
    return np.array_equal(value, default)  # type: ignore[arg-type]


def _values(config: object) -> dict[str, object]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}  # type: ignore[arg-type]
