"""From names of arrays in a file to places in a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from aihwjax.errors import ConfigError, nearest

Change: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Turns an array of the file into what the place takes, such as ``numpy.transpose``."""
Place: TypeAlias = str | tuple[str, Change]
"""A place in the model, alone or with a change of the array."""
Names: TypeAlias = Mapping[str, Place | Sequence[Place] | None] | Callable[[str], Place | Sequence[Place] | None] | None
"""Patterns of names to places, or a function of a name; ``None`` for a name: it is not used."""

_HOLE = re.compile(r"\{\}|\*")
_INDEX = re.compile(r"(.*)\[(\d+)\]")


class Target(NamedTuple):
    """Where an array goes."""

    name: str
    """Name of the array."""
    place: str
    """Path in the model."""
    number: int | None
    """Which of the stacked layers there; ``None``: it is not one of a stack, or all of it."""
    change: Change | None
    """What is done with the array before."""


def targets(names: Names, given: Collection[str], places: Collection[str]) -> tuple[list[Target], list[str]]:
    """Return where each array goes, and the names of those that are not used.

    Args:
        names: As the user gave it.
        given: Names of the arrays.
        places: Places of the model.

    Raises:
        ConfigError: If ``names`` is not allowed, a pattern fits no name, a place does not exist, or one is named twice.
    """
    found: list[Target] = []
    unused: list[str] = []
    for name, answer in _answers(names, given, places):
        each = answer if isinstance(answer, list) else [answer]
        new = [_target(name, one, places) for one in each if one is not None]
        found += new
        unused += [] if new else [name]
    seen: dict[str, dict[int | None, str]] = {}
    for target in found:
        if target.place not in places:
            raise ConfigError(
                f"the array {target.name!r} has no place {target.place!r} in the model{nearest(target.place, places)}"
            )
        others = seen.setdefault(target.place, {})
        if target.number in others or (others and None in (target.number, *others)):
            other = others.get(target.number, next(iter(others.values())))
            raise ConfigError(f"the arrays {other!r} and {target.name!r} both go to {target.place}")
        others[target.number] = target.name
    return found, unused


def _answers(
    names: Names, given: Collection[str], places: Collection[str]
) -> Iterable[tuple[str, Place | Sequence[Place] | None]]:
    if names is None:
        return [(name, name.replace(".", "/")) for name in given]
    if callable(names):
        return [(name, names(name)) for name in given]
    if not isinstance(names, Mapping):
        raise ConfigError(f"names={type(names).__name__} is not allowed: give a dict of patterns or a function")
    patterns = {pattern: _compiled(pattern) for pattern in names}
    answers: list[tuple[str, Place | Sequence[Place] | None]] = []
    used: set[str] = set()
    for name in given:
        answer: Place | Sequence[Place] | None = None
        for pattern, expression in patterns.items():
            match = expression.fullmatch(name)
            if match is not None:
                used.add(pattern)
                answer = _filled(names[pattern], pattern, [part.replace(".", "/") for part in match.groups()])
                break
        answers.append((name, answer))
    for pattern in patterns:
        if pattern not in used:
            some = ", ".join(list(given)[:5]) + (", ..." if len(given) > 5 else "")
            raise ConfigError(f"names={{{pattern!r}: ...}} fits no array: there are {some}{nearest(pattern, given)}")
    return answers


def _compiled(pattern: object) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise ConfigError(
            f"names={{{pattern!r}: ...}} is not allowed: give patterns of names, such as 'layers.{{}}.weight'"
        )
    parts = _HOLE.split(pattern)
    holes = [r"([^./]+)" if hole == "{}" else "(.*)" for hole in _HOLE.findall(pattern)]
    text = "".join(re.escape(part) + hole for part, hole in zip(parts, [*holes, ""], strict=True))
    return re.compile(text, re.DOTALL)


def _filled(answer: Place | Sequence[Place] | None, pattern: str, found: list[str]) -> Place | Sequence[Place] | None:
    """Put what the holes of a pattern stood for into those of a place, in order."""
    if isinstance(answer, list):
        return [one for each in answer if (one := _filled(each, pattern, found)) is not None]  # type: ignore[misc]
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], str):
        return (_filled(answer[0], pattern, found), answer[1])  # type: ignore[return-value]
    if not isinstance(answer, str):
        return answer
    holes = len(_HOLE.findall(answer))
    if holes > len(found):
        raise ConfigError(
            f"names={{{pattern!r}: {answer!r}}} is not allowed: the place has more holes than the pattern"
        )
    parts = iter(found)
    return _HOLE.sub(lambda _: next(parts), answer)


def _target(name: str, answer: object, places: Collection[str]) -> Target:
    path, change = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
    if not isinstance(path, str) or not (change is None or callable(change)):
        raise ConfigError(
            f"the place of {name!r} is {answer!r}, which is not allowed: give a path, or (path, function)"
        )
    match = _INDEX.fullmatch(path)
    place, number = (match[1], int(match[2])) if match else (path, None)
    plural = re.sub(r"(^|/)weight$", r"\1weights", place)  # what others call it
    return Target(name, plural if plural in places else place, number, change)
