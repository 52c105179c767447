"""Golden cases: statistics of the reference, read from a folder of ``FAMILY.json`` and ``FAMILY.npz``."""

from __future__ import annotations

import fnmatch
import gzip
import json
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from aihwjax import arguments, nn
from aihwjax.errors import DataError, nearest
from aihwjax.fidelity.agreement import Statistics, Values
from aihwjax.reference import Value

FORMAT_VERSION = 2
"""Version of the golden files that this module reads."""

_ACTIVATIONS: Mapping[str, type[nnx.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}

Step = tuple[Any, ...]
"""One step of a case as recorded: the operation's name and its arguments."""


@arguments.answering
@dataclass(frozen=True)
class TileCase:
    """A tile taken through steps on fresh devices, again and again."""

    name: str
    """Family and name, ``"update/softbounds"``."""
    family: str
    """Name of the family."""
    config: Mapping[str, Value]
    """The reference's configuration, flat (see ``config.from_reference``)."""
    shape: tuple[int, int]
    """Size of the tile, ``(out, in)``."""
    steps: tuple[Step, ...]
    """What is done with a tile, in order."""
    inputs: Mapping[str, Values]
    """Arrays that the steps name."""
    stats: Mapping[str, Statistics]
    """Recorded statistics of each record."""
    repeats: int
    """Number of tiles behind the statistics."""
    pooled: bool
    """Whether records are pooled over crosspoints."""


@arguments.answering
@dataclass(frozen=True)
class TrainingCase:
    """A network trained with several seeds."""

    name: str
    """Family and name, ``"training/EcRam-b64"``."""
    family: str
    """Name of the family."""
    config: Mapping[str, Value]
    """The reference's configuration, flat (see ``config.from_reference``)."""
    experiment: Mapping[str, Any]
    """Network, data, batch size, learning rate and epochs."""
    runs: Mapping[str, Values]
    """Loss and accuracy, each ``(seed, epoch)``."""


Case = TileCase | TrainingCase
"""A golden case."""


def activation(name: str) -> type[nnx.Module]:
    """Return the class of an activation that a case names.

    Raises:
        DataError: If it is unknown.
    """
    if name.lower() not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise DataError(f"activation={name!r} is not known: give one of {known}{nearest(name, _ACTIVATIONS)}")
    return _ACTIVATIONS[name.lower()]


@arguments.answered
def families_in(folder: Path) -> list[str]:
    """Return the names of the families in a folder, sorted."""
    names = {path.name.split(".")[0] for pattern in ("*.json", "*.json.gz") for path in folder.glob(pattern)}
    return sorted(name for name in names if (folder / f"{name}.npz").exists())


@arguments.answered
def load(folder: str | Path, families: Collection[str] | None = None, pattern: str | None = None) -> list[Case]:
    """Read golden cases.

    Args:
        folder: Folder with ``FAMILY.json`` (or ``FAMILY.json.gz``) and ``FAMILY.npz``.
        families: Names of the families; all in the folder if not given.
        pattern: Only cases whose name, with or without the family, matches (``"update/*noise*"``).

    Raises:
        DataError: If the folder, a family or its format is not there or damaged, or no case matches.
    """
    folder = Path(folder)
    known = families_in(folder)
    if not known:
        raise DataError(f"folder={str(folder)!r} holds no golden files: give a folder with FAMILY.json and FAMILY.npz")
    chosen = list(families) if families else known
    for family in chosen:
        if family not in known:
            raise DataError(
                f"family={family!r} is not in {folder}: give one of {', '.join(known)}{nearest(family, known)}"
            )
    cases = [case for family in chosen for case in _family(folder, family, pattern)]
    if not cases:
        raise DataError(f"pattern={pattern!r} matches no case of {', '.join(chosen)}")
    return cases


def matches(name: str, pattern: str | None) -> bool:
    """Whether a case's name, with or without its family, matches a shell pattern."""
    if pattern is None:
        return True
    return any(fnmatch.fnmatchcase(text, pattern) for text in (name, name.partition("/")[2]))


def _family(folder: Path, family: str, pattern: str | None) -> list[Case]:
    plain = folder / f"{family}.json"
    try:
        if plain.exists():
            data = json.loads(plain.read_text())
        else:
            data = json.loads(gzip.decompress((folder / f"{family}.json.gz").read_bytes()))
        version = data["format_version"]
        if version != FORMAT_VERSION:
            raise DataError(f"{folder / family}: format_version={version!r} is not known: give {FORMAT_VERSION}")
        with np.load(folder / f"{family}.npz") as arrays:
            return [_case(entry, arrays) for entry in data["cases"] if matches(entry["name"], pattern)]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"the golden family {family!r} in {folder} is damaged: {type(error).__name__}: {error}"
        ) from None


def _case(entry: Mapping[str, Any], arrays: Mapping[str, Values]) -> Case:
    name, family, config = entry["name"], entry["family"], entry["config"]
    if "experiment" in entry:
        runs = {key: arrays[place] for key, place in entry["runs"].items()}
        return TrainingCase(name, family, config, entry["experiment"], runs)
    return TileCase(
        name=name,
        family=family,
        config=config,
        shape=(entry["shape"][0], entry["shape"][1]),
        steps=tuple(tuple(step) for step in entry["steps"]),
        inputs={key: arrays[place] for key, place in entry["inputs"].items()},
        stats={record: _statistics(stat, arrays) for record, stat in entry["stats"].items()},
        repeats=entry["repeats"],
        pooled=entry["pooled"],
    )


def _statistics(entry: Mapping[str, Any], arrays: Mapping[str, Values]) -> Statistics:
    quantiles = arrays[entry["quantiles"]] if "quantiles" in entry else None
    return Statistics(entry["n"], arrays[entry["mean"]], arrays[entry["std"]], arrays[entry["m4"]], quantiles)
