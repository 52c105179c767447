"""What a directed case is, and the few words in which the table writes its configurations and inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Flat = dict[str, Any]
"""A configuration of the reference, flat (``aihwjax.reference``)."""

Step = Sequence[Any]
"""One step of a case, as golden files hold it."""

HIDDEN = ["hidden_weights", "buffered", "mean_weight"]
"""Parts of the names of the hidden parameters that change during learning."""


@dataclasses.dataclass(frozen=True)
class Directed:
    """One row of the table."""

    name: str
    """What it aims at and how, ``"outside/soft_bounds_reference-burst"``."""
    config: Flat
    """The configuration; what it does not name has the reference's default."""
    shape: tuple[int, int]
    """Size of the tile, ``(out, in)``."""
    inputs: Mapping[str, np.ndarray]
    """Arrays that the steps name."""
    steps: Sequence[Step]
    """What is done with a fresh tile."""
    repeats: int
    """Number of fresh tiles."""


# ------------------------------------------------------------------- configurations
def group(cls: str, **fields: Any) -> dict[str, Any]:
    """Return a part of a configuration: its class and the fields that differ from their defaults."""
    return {"__class__": cls, **fields}


def flat(tree: Mapping[str, Any], path: str = "") -> Flat:
    """Return the flat dictionary of nested groups and lists."""
    result: Flat = {}
    for name, value in tree.items():
        where = f"{path}{name}"
        if isinstance(value, Mapping):
            result.update(flat(value, f"{where}."))
        elif isinstance(value, (list, tuple)):
            entries = {str(i): entry for i, entry in enumerate(value)}
            result.update(flat({"__len__": len(value), **entries}, f"{where}."))
        else:
            result[where] = value
    return result


def even(cls: str, **fields: Any) -> dict[str, Any]:
    """Return a device without variations and noise, except those that are given."""
    spreads = dict.fromkeys(("dw_min_dtod", "dw_min_std", "up_down_dtod", "w_max_dtod", "w_min_dtod"), 0.0)
    if cls == "LinearStepDevice":
        spreads |= {"gamma_up_dtod": 0.0, "gamma_down_dtod": 0.0}
    if cls.startswith("PowStep"):
        spreads |= {"pow_gamma_dtod": 0.0}
    return group(cls, **{**spreads, **fields})


def update(**fields: Any) -> dict[str, Any]:
    """Return update parameters."""
    return group("UpdateParameters", **fields)


def certain(pulses: int) -> dict[str, Any]:
    """Return update parameters that send so many certain pulses a vector wherever ``x d`` is not small; rate 1."""
    return update(desired_bl=pulses, update_management=False, update_bl_management=False)


def read(**fields: Any) -> dict[str, Any]:
    """Return the periphery of a read."""
    return group("IOParameters", **fields)


EXACT = read(is_perfect=True)
"""A read without noise and converters."""


def single(device: Mapping[str, Any], **parts: Any) -> Flat:
    """Return the configuration of a tile of single devices."""
    return flat(group("SingleRPUConfig", device=device, **parts))


def cell(cls: str, devices: Sequence[Mapping[str, Any]], fields: Mapping[str, Any], **parts: Any) -> Flat:
    """Return the configuration of a tile of unit cells."""
    device = group(cls, unit_cell_devices=list(devices), **fields)
    return flat(group("UnitCellRPUConfig", device=device, **parts))


def rank_update(device: Mapping[str, Any], fields: Mapping[str, Any], **parts: Any) -> Flat:
    """Return the configuration of a tile in mixed precision."""
    compound = group("MixedPrecisionCompound", device=device, **fields)
    return flat(group("DigitalRankUpdateRPUConfig", device=compound, **parts))


# --------------------------------------------------------------------------- inputs
def ramp(shape: tuple[int, int], top: float = 0.6) -> np.ndarray:
    """Return weights that climb evenly from ``-top`` to ``top``, row by row."""
    return np.linspace(-top, top, shape[0] * shape[1]).reshape(shape)


def full(shape: tuple[int, int], value: float) -> np.ndarray:
    """Return equal weights."""
    return np.full(shape, value)


def vectors(count: int, size: int, seed: int, top: float = 1.0) -> np.ndarray:
    """Return evenly distributed vectors in ``-top`` to ``top``."""
    return np.random.default_rng(seed).uniform(-top, top, (count, size)).round(3)


def signs(*rows: Sequence[float]) -> np.ndarray:
    """Return vectors that are listed."""
    return np.array(rows, np.float64)
