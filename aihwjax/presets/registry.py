"""The list of all presets: their names, families and sources.

A preset is a function that returns one expression, with :func:`preset` above it::

    @preset("device")
    def SomePresetDevice(**fields: Any) -> ConstantStepDevice:
        \"\"\"What it is, when to use it, and its source.\"\"\"
        return ConstantStepDevice(dw_min=0.002).replace(fields)

Any field of the class can be replaced by keyword; the rest keeps the preset's values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar, get_args

from aihwjax import arguments
from aihwjax.config import Config
from aihwjax.errors import ConfigError, nearest

Family = Literal[
    "parameters",
    "device",
    "unit cell",
    "single device",
    "two devices",
    "four devices",
    "tiki-taka",
    "ttv2",
    "chopped ttv2",
    "agad",
    "mixed precision",
    "inference",
    "web composer",
]
"""Kinds of presets: parts of a tile, devices, and tiles by their training algorithm."""

_Build = TypeVar("_Build", bound=Callable[..., Config])
_PRESETS: dict[str, Preset] = {}


class Preset(NamedTuple):
    """An entry of the list of presets."""

    name: str
    """Name of the function, as in the reference."""
    family: Family
    """What kind of preset it is."""
    build: Callable[..., Config]
    """The function itself."""

    @property
    def text(self) -> str:
        """The docstring."""
        return inspect.getdoc(self.build) or ""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.text.partition("\n")[0]

    @property
    def citation(self) -> str:
        """Where the numbers or the algorithm come from, in full."""
        _, _, rest = self.text.partition("Source: ")
        return " ".join(rest.partition("\n\n")[0].split())

    @property
    def short_citation(self) -> str:
        """Authors, journal and year."""
        return self.citation.partition(" (")[0].rstrip(".")


@arguments.answered
def preset(family: Family) -> Callable[[_Build], _Build]:
    """Return a decorator that enters a function into the list of presets and leaves it as it is.

    Args:
        family: What kind of preset it is.
    """

    def enter(build: _Build) -> _Build:
        name = build.__name__
        _PRESETS[name] = Preset(name, family, build)
        return build

    return enter


def entries() -> list[Preset]:
    """Return all presets, in the order of families."""
    order = list(get_args(Family))
    return sorted(_PRESETS.values(), key=lambda entry: order.index(entry.family))


@arguments.answered
def names(family: str | None = None) -> list[str]:
    """Return the names of all presets, or of one family.

    Example:
        >>> import aihwjax as aj
        >>> aj.presets.names("unit cell")
        ['PCMPresetUnitCell']

    Args:
        family: Such as ``"tiki-taka"``; capitals, spaces and hyphens do not matter.

    Raises:
        ConfigError: If there is no such family; names the nearest.
    """
    wanted = None if family is None else find_family(family)
    return [entry.name for entry in entries() if wanted in (None, entry.family)]


def find_family(text: str) -> Family:
    """Return the family that a text names; capitals, spaces and hyphens do not matter.

    Raises:
        ConfigError: If there is no such family; names those that there are.
    """
    families = {_folded(family): family for family in get_args(Family)}
    if _folded(text) not in families:
        known = ", ".join(get_args(Family))
        hint = nearest(text.lower(), get_args(Family))
        raise ConfigError(f"family={text!r} is not a family of presets: give one of {known}{hint}")
    return families[_folded(text)]


def find(name: str) -> Preset:
    """Return the entry of a preset.

    Raises:
        ConfigError: If there is no such preset; names the nearest.
    """
    if name not in _PRESETS:
        raise ConfigError(f"there is no preset {name!r}{nearest(name, _PRESETS)}")
    return _PRESETS[name]


@arguments.answered
def by_name(name: str) -> Callable[..., Config]:
    """Return the preset function called ``name``.

    Example:
        >>> import aihwjax as aj
        >>> aj.presets.by_name("EcRamPresetDevice")(dw_min=0.001).w_max
        1.1724

    Args:
        name: The name, as in the reference.

    Raises:
        ConfigError: If there is no such preset; names the nearest.
    """
    return find(name).build


def _folded(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())
