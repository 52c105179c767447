"""Configurations as plain dictionaries, JSON and TOML, and the difference of two of them."""

from __future__ import annotations

import dataclasses
import enum
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from aihwjax import arguments, catalogue, showing
from aihwjax.config.core import Config, known_fields, registered
from aihwjax.errors import ConfigError, nearest

_TAG = "class"
_Reader = TypeVar("_Reader", bound=Callable[[Mapping[str, Any]], Any])
_READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {}


@arguments.answered
def to_dict(config: Config) -> dict[str, Any]:
    """Return a nested dictionary of plain values, with the class name under ``"class"``; of a function its name."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    return _document(type(config), values)


@arguments.answered
def defaults(cls: type[Config]) -> dict[str, Any]:
    """Return the default of every field of a class, also of a class that needs more than its defaults."""
    found = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


@arguments.answered
def default_dict(cls: type[Config]) -> dict[str, Any]:
    """Return what :func:`to_dict` would return of a class's defaults; see :func:`defaults`."""
    return _document(cls, defaults(cls))


def _document(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {_TAG: cls.__name__, **{name: _plain(value) for name, value in values.items() if value is not None}}


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return to_dict(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | jax.Array | np.generic):
        return showing.plain(value)
    return showing.function_name(value) if callable(value) else value


@arguments.answered
def from_dict(data: Mapping[str, Any], *, path: str = "") -> Any:
    """Build the configuration that :func:`to_dict` wrote; missing fields take their defaults.

    Raises:
        ConfigError: If a class or field is unknown or a value is not allowed.
    """
    if _TAG not in data:
        raise ConfigError(f"{path or 'the configuration'} has no entry {_TAG!r} that names its class")
    cls = registered(str(data[_TAG]))
    known = known_fields(cls)
    values = {}
    for name, value in data.items():
        if name == _TAG:
            continue
        where = f"{path}.{name}" if path else name
        if name not in known:
            raise ConfigError(f"unknown field {where!r} of {cls.__name__}{nearest(name, known)}")
        values[name] = _built(value, where)
    return cls(**values)


def _built(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return from_dict(value, path=path)
    if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        return tuple(from_dict(entry, path=f"{path}[{i}]") for i, entry in enumerate(value))
    return value


@arguments.answered
def from_reference(flat: Mapping[str, Any]) -> Any:
    """Build the tile configuration that a flat dictionary of the reference describes.

    See :mod:`aihwjax.reference`. Sets ``reference_quirks``: the answer is what the reference does.
    """
    if "reference" not in _READERS:
        catalogue.complete()
    return _READERS["reference"](flat)


def reads(dialect: str) -> Callable[[_Reader], _Reader]:
    """Register the decorated function as the reader of a dialect: it knows classes, which this module can't."""

    def register(reader: _Reader) -> _Reader:
        _READERS[dialect] = reader
        return reader

    return register


@arguments.answered
def to_json(config: Config) -> str:
    """Return the configuration as JSON text."""
    return json.dumps(to_dict(config), indent=2)


@arguments.answered
def from_json(text: str) -> Any:
    """Build a configuration from JSON text."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not valid JSON: {error}") from None
    return from_dict(data)


@arguments.answered
def to_toml(config: Config) -> str:
    """Return the configuration as TOML text."""
    import tomli_w

    return tomli_w.dumps(to_dict(config))


@arguments.answered
def from_toml(text: str) -> Any:
    """Build a configuration from TOML text."""
    return from_dict(read_toml(text))


@arguments.answered
def read_toml(text: str, source: str | Path = "the text") -> dict[str, Any]:
    """Parse TOML text into a dictionary.

    Raises:
        ConfigError: If it is not valid TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from None


@arguments.answered
def difference(first: Any, second: Any, path: str = "") -> list[str]:
    """Return one line for each field in which two configurations differ."""
    if type(first) is not type(second):
        names = (type(first).__name__, type(second).__name__)
        if isinstance(first, Config) or isinstance(second, Config):
            return [f"{path or 'class'}: {names[0]} -> {names[1]}"]
    if isinstance(first, Config):
        lines = []
        for field in dataclasses.fields(first):  # type: ignore[arg-type]
            where = f"{path}.{field.name}" if path else field.name
            lines += difference(getattr(first, field.name), getattr(second, field.name), where)
        return lines
    if isinstance(first, tuple) and first and all(isinstance(entry, Config) for entry in first):
        if len(first) != len(second):
            return [f"{path}: {len(first)} entries -> {len(second)}"]
        pairs = enumerate(zip(first, second, strict=True))
        return [line for i, (a, b) in pairs for line in difference(a, b, f"{path}.{i}")]
    return [] if _equal(first, second) else [f"{path}: {_plain(first)!r} -> {_plain(second)!r}"]


def _equal(first: Any, second: Any) -> bool:
    """Whether two values are the same, in single precision where one is an array: then it was in a program."""
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    if np.array_equal(first, second):
        return True
    if not any(isinstance(value, np.ndarray | jax.Array) for value in (first, second)):
        return False
    before, after = np.asarray(first), np.asarray(second)
    numbers = np.issubdtype(before.dtype, np.number) and np.issubdtype(after.dtype, np.number)
    return bool(numbers) and np.array_equal(before.astype(np.float32), after.astype(np.float32))
