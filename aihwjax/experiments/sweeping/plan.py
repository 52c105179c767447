"""Which configurations of a sweep share a program, and how many of them are trained at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from aihwjax.errors import ConfigError
from aihwjax.experiments.sweeping.fields import EPOCHS, RATE, is_field
from aihwjax.experiments.sweeping.points import Point, numeric, plain
from aihwjax.experiments.training import BasicTraining


@dataclass(frozen=True)
class Run:
    """One network of a sweep."""

    index: int
    """Number of its configuration."""
    seed: int
    """Number of its seed."""
    point: Point
    """Its configuration."""


@dataclass(frozen=True)
class Group:
    """Networks that share a program: they differ in numbers alone."""

    runs: tuple[Run, ...]
    """The networks."""
    numbers: tuple[str, ...]
    """Paths of the numbers of layers in which they may differ."""
    choices: dict[str, Any]
    """What they have in common, by path."""
    kind: tuple[Any, ...] = ()
    """What tells the group from others."""

    def values(self, runs: tuple[Run, ...]) -> dict[str, np.ndarray]:
        """Return the numbers of some networks, by path, ``(networks,)`` each.

        Args:
            runs: Some of the group.
        """
        return {path: np.stack([plain(run.point[path]) for run in runs]) for path in self.numbers}


@dataclass(frozen=True)
class Chunk:
    """Networks that are trained by one call."""

    group: Group
    """Theirs."""
    runs: tuple[Run, ...]
    """The networks."""


@dataclass(frozen=True)
class Plan:
    """What a sweep does, before it does it."""

    chunks: tuple[Chunk, ...]
    """In order."""
    at_once: tuple[int, ...]
    """Networks in a call, of each chunk; the last call of a group repeats a network to fill it."""
    memory: int
    """Bytes that a call takes at most, estimated."""
    way: str
    """``"map"`` or ``"vmap"``."""
    epochs: tuple[int, ...]
    """Epochs of each chunk."""
    seconds: float = 0.0
    """About how long all of it takes, without compiling; an estimate from the operations of the program."""

    def __str__(self) -> str:
        """Return one line, and one a group."""
        groups: dict[int, list[int]] = {}
        for number, chunk in enumerate(self.chunks):
            groups.setdefault(id(chunk.group), []).append(number)
        networks = sum(len(chunk.runs) for chunk in self.chunks)
        turn = "one after the other" if self.way == "map" else "side by side"
        sizes = f"{_count(len(groups), 'program')}, {_count(len(self.chunks), 'call')} an epoch"
        about = f", about {_duration(self.seconds)}" if self.seconds else ""
        lines = [f"{networks} networks, {sizes}, in each {turn}, {self.memory / 2**20:.0f} MiB{about}"]
        for numbers in groups.values():
            group = self.chunks[numbers[0]].group
            choices = ", ".join(f"{path}={_text(value)}" for path, value in group.choices.items()) or "all"
            most, least = (choose(self.epochs[number] for number in numbers) for choose in (max, min))
            epochs = f"{most} epochs" if most == least else f"{least} to {most} epochs"
            lines.append(f"  {choices}: {len(group.runs)} networks, {self.at_once[numbers[0]]} a call, {epochs}")
        return "\n".join(lines)


def grouped(
    experiment: BasicTraining, points: Sequence[Point], seeds: Sequence[int], indices: Sequence[int] | None = None
) -> list[Group]:
    """Return the groups of a sweep, in the order of their first configuration.

    Args:
        experiment: What is varied.
        points: The configurations.
        seeds: Numbers of the networks of each.
        indices: Numbers of the configurations; ``None``: from 0 on.
    """
    found: dict[Any, list[Run]] = {}
    numbers: dict[Any, tuple[str, ...]] = {}
    known: dict[tuple[str, Any], bool] = {}

    def is_numeric(path: str, value: Any) -> bool:
        if path.startswith(f"{RATE}."):  # of rates by path, 0 is another program
            return numeric(experiment, path, value)
        kind = (path, type(value))
        if kind not in known or not known[kind]:
            known[kind] = numeric(experiment, path, value)
        return known[kind]

    for index, point in zip(range(len(points)) if indices is None else indices, points, strict=True):
        moving = tuple(sorted(path for path, value in point.items() if is_numeric(path, value)))
        same = tuple(sorted((path, _identity(value)) for path, value in point.items() if path not in moving))
        kind = (moving, same)
        numbers[kind] = moving
        found.setdefault(kind, []).extend(Run(index, seed, point) for seed in seeds)
    groups = []
    for kind, runs in found.items():
        choices = {path: value for path, value in runs[0].point.items() if path not in numbers[kind]}
        # those with most epochs first, so that networks of a call end together
        ordered = sorted(runs, key=lambda run: -int(run.point.get(EPOCHS, 0)))
        of_layers = tuple(path for path in numbers[kind] if not is_field(experiment, path))
        groups.append(Group(tuple(ordered), of_layers, choices, kind))
    return groups


def networks_at_once(each: int, once: int, memory: int | None, default: int) -> int:
    """Return how many networks fit into the memory.

    Args:
        each: Bytes of each.
        once: Bytes that a call takes besides.
        memory: The budget; ``None``: the default.
        default: The default budget.

    Raises:
        ConfigError: If the budget is no number of bytes, or less than one network takes.
    """
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int | np.integer) or memory < 1):
        raise ConfigError(f"memory={memory!r} is not allowed: give a number of bytes")
    if memory is not None and each + once > memory:
        least = each + once
        raise ConfigError(f"memory={memory} is not allowed: one network takes about {least} bytes, give at least that")
    return max(1, ((default if memory is None else int(memory)) - once) // each)


def _identity(value: Any) -> str:
    """Return what tells choices apart: their text, or the object where that says nothing."""
    if isinstance(value, np.ndarray | jax.Array):
        return f"{type(value).__name__} {np.asarray(value).tolist()}"
    if callable(value):
        return f"{getattr(value, '__name__', type(value).__name__)} {id(value)}"
    return f"{type(value).__name__} {value!r}"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def _text(value: Any) -> str:
    text = " ".join(str(getattr(value, "name", value)).split())
    return text if len(text) <= 40 else text[:37] + "..."
