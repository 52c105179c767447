"""Where an experiment runs."""

from __future__ import annotations

import contextlib
from typing import TypeAlias

import jax

from aihwjax.errors import ConfigError, nearest

DeviceChoice: TypeAlias = str | jax.Device | None
"""A JAX device, a name such as ``"cpu"``, ``"gpu"``, ``"cuda"`` or ``"gpu:1"``, or ``None`` for JAX's default."""

_BACKENDS = ("cpu", "gpu", "cuda", "rocm", "tpu")


def find_device(choice: DeviceChoice) -> jax.Device | None:
    """Return the device that a choice means; ``None`` stays ``None``.

    Args:
        choice: The device, or its name.

    Raises:
        ConfigError: If there is no such device; names those that there are.
    """
    if choice is None or isinstance(choice, jax.Device):
        return choice
    if not isinstance(choice, str):
        raise ConfigError(f"device={choice!r} is not allowed: give a name such as 'cpu' or a JAX device")
    kind, _, number = choice.partition(":")
    found = _devices(kind) if kind in _BACKENDS else []
    index = int(number) if number.isdecimal() else 0
    if (number and not number.isdecimal()) or index >= len(found):
        available = [f"{device.platform}:{device.id}" for device in _available()]
        hint = nearest(kind, _BACKENDS) if kind not in _BACKENDS else ""
        raise ConfigError(f"device={choice!r} is not available: give one of {', '.join(available)}{hint}")
    return found[index]


def _devices(kind: str) -> list[jax.Device]:
    try:
        return jax.devices(kind)
    except RuntimeError:
        return []


def _available() -> list[jax.Device]:
    devices = list(jax.devices())
    return devices + [device for device in _devices("cpu") if device not in devices]


def on_device(device: jax.Device | None) -> contextlib.AbstractContextManager[object]:
    """Return a context in which computations run on ``device``; ``None``: JAX's default."""
    return contextlib.nullcontext() if device is None else jax.default_device(device)
