"""What a figure is about: a device, a tile configuration, or the name of a preset."""

from __future__ import annotations

from typing import TypeAlias

import jax.numpy as jnp
import numpy as np

from aihwjax import arguments, devices, tile
from aihwjax.config import Config, registered
from aihwjax.devices.base import Device, DeviceState, PulsedDevice
from aihwjax.devices.ideal import ExactDevice
from aihwjax.errors import ConfigError, nearest
from aihwjax.pulses import PulseType, UpdateMode, UpdateParameters
from aihwjax.random import as_key, derive
from aihwjax.tile.config import SingleRPUConfig, TileConfig
from aihwjax.tile.matching import working_device
from aihwjax.typing import Key, Weights

Subject: TypeAlias = Device | TileConfig | str
"""A device, a tile configuration, or a name: of a preset such as ``"EcRamPresetDevice"`` or a class of devices."""

Seed: TypeAlias = Key | int
"""A PRNG key, or the number of one."""

_BASES = ("Device", "PulsedDevice", "WriteNoiseDevice")
_OF_FUNCTIONS = ("CustomStepDevice",)
DEVICES = tuple(name for name in devices.__all__ if name.endswith("Device") and name not in (*_BASES, *_OF_FUNCTIONS))
"""Classes of devices that need no more than their name."""

CROSSPOINTS = 512
"""Crosspoints that are simulated by default."""
_EXACT_STEP = 0.01
_MOST_PULSES = 5000
_FEWEST_PULSES = 20


def tile_config(subject: Subject) -> TileConfig:
    """Return the tile configuration that a subject stands for.

    Args:
        subject: A device gets a tile with defaults, a name is looked up among presets and classes of devices.

    Raises:
        ConfigError: If there is no such name (with the nearest one), or it is not of a device or tile.
    """
    given: object = named(subject) if isinstance(subject, str) else subject
    if isinstance(given, TileConfig):
        return given
    if isinstance(given, Device):
        return SingleRPUConfig(device=given)
    raise ConfigError(
        f"subject={subject!r} is not allowed: give a device, a tile configuration, or the name of a preset of one"
    )


def named(name: str) -> Config:
    """Return the preset, or the device with its defaults, that has a name.

    Args:
        name: Of a preset or of a class of devices.

    Raises:
        ConfigError: If there is none; names the nearest.
    """
    from aihwjax import presets

    if name in presets.names():
        return presets.by_name(name)()
    if name not in DEVICES:
        raise ConfigError(f"there is no preset or device {name!r}{nearest(name, [*presets.names(), *DEVICES])}")
    return registered(name)()


def name_of(subject: Subject) -> str:
    """Return what a figure calls a subject: the preset's name, else the class of the device."""
    if isinstance(subject, str):
        return subject
    return type(subject.device if isinstance(subject, TileConfig) else subject).__name__


def key_of(seed: Seed) -> Key:
    """Return a PRNG key for a key or a number."""
    return as_key(seed)


def certain_pulses(config: TileConfig) -> TileConfig:
    """Return the configuration with which x = 1, d = -1 or 1 is one certain pulse up or down.

    The learning rate has to be that of :func:`pulse_size`; the trains have one slot, in which every
    line fires (spec: update, section 4.3). Pulses act one by one.
    """
    if config.update.pulse_type in (PulseType.NONE, PulseType.NONE_WITH_DEVICE):
        update = config.update.replace(pulse_type=PulseType.STOCHASTIC_COMPRESSED)
    else:
        update = config.update
    update = UpdateParameters(
        pulse_type=update.pulse_type, desired_bl=1, update_management=False, update_bl_management=False
    )
    config = config.replace(update=update, update_mode=UpdateMode.SEQUENTIAL)
    if isinstance(config.device, PulsedDevice):  # all crosspoints are in one column, the one of the bias
        return config.replace({"device.perfect_bias": False})
    return config


def pulse_size(config: TileConfig) -> float:
    """Return the learning rate of one certain pulse: the granularity; 0.01 for a device that is updated exactly."""
    device = working_device(config)
    return _EXACT_STEP if isinstance(device, ExactDevice) else float(jnp.asarray(device.weight_granularity()))


def fresh_tile(config: TileConfig, seed: Seed, crosspoints: int = CROSSPOINTS) -> tile.TileState:
    """Return a new tile with one column, that all figures of a subject share."""
    return tile.init(config, derive(key_of(seed), "init"), (crosspoints, 1))


def weight_range(config: TileConfig, seed: Seed = 0) -> tuple[float, float]:
    """Return the mean lower and upper bound of the weight; -1 and 1 for a device without bounds.

    A compound has the outermost mean bounds of its devices.
    """
    state = fresh_tile(config, seed)
    hidden = tile.hidden_parameters(config, state)
    device = working_device(config)
    shift = 0.0
    if isinstance(device, PulsedDevice) and "reference" in hidden:  # the bounds hold before it is subtracted
        shift = float(jnp.mean(hidden["reference"]))
    low = [float(jnp.mean(value)) for name, value in hidden.items() if name.startswith("min_bound")]
    high = [float(jnp.mean(value)) for name, value in hidden.items() if name.startswith("max_bound")]
    if not low or not high or not min(low) < max(high):
        return -1.0, 1.0
    return min(low) - shift, max(high) - shift


@arguments.answered
def estimate_n_steps(subject: Subject) -> int:
    """Return about how many pulses lead from one bound to the other: the range over the granularity.

    Args:
        subject: Device, tile configuration or preset name.

    Returns:
        At least 20 and at most 5000.
    """
    config = certain_pulses(tile_config(subject))
    low, high = weight_range(config)
    return int(np.clip(round((high - low) / pulse_size(config)), _FEWEST_PULSES, _MOST_PULSES))


def persistent(config: TileConfig, state: tile.TileState) -> Weights:
    """Return the weights on which pulses act: those without write noise."""
    device = working_device(config)
    if isinstance(device, PulsedDevice):
        parts: DeviceState = state.device
        return device.stored(parts, state.weights)
    return state.weights
