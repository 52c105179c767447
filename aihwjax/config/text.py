"""Configurations as text: what differs from the defaults (``repr``), and all of it on demand."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from collections.abc import Mapping
from typing import Any

from aihwjax import arguments, showing
from aihwjax.errors import AihwjaxError

_made: dict[type, Any] = {}
"""What classes make without arguments."""


def short(config: Any) -> str:
    """Return the call that makes a configuration, with the fields that differ from the defaults of its class.

    Args:
        config: Any configuration.
    """
    fields = dataclasses.fields(config)
    changed = {f.name: value for f in fields if not showing.is_default(value := getattr(config, f.name), f)}
    like = _without_arguments(type(config))
    if like is not None:  # some fields follow from others when a configuration is made
        changed = {name: value for name, value in changed.items() if not showing.same(value, getattr(like, name))}
    return call(type(config).__name__, changed)


def _without_arguments(cls: type) -> Any:
    """Return the configuration of a class that is made without arguments; ``None`` if it needs some."""
    if cls not in _made:
        try:
            _made[cls] = cls()
        except AihwjaxError:
            _made[cls] = None
    return _made[cls]


def unlike(config: Any, other: Any) -> dict[str, Any]:
    """Return the fields of a configuration that differ from those of another one of its class.

    Args:
        config: Any configuration.
        other: The other one.
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: value for name, value in values.items() if not showing.same(value, getattr(other, name))}


def call(name: str, values: Mapping[str, Any]) -> str:
    """Return a call with arguments, as text.

    Args:
        name: What is called.
        values: Its arguments by name.
    """
    return f"{name}({', '.join(f'{key}={_word(value)}' for key, value in values.items())})"


@arguments.answered
def whole(config: Any) -> str:
    """Return every field of a configuration, a line each, those of its parts indented.

    ``print(config)`` shows what differs from the defaults; this shows the defaults too.

    Example:
        >>> import aihwjax as aj
        >>> print(aj.config.whole(aj.MappingParameter(max_input_size=256)))
        MappingParameter(
            digital_bias=True,
            weight_scaling_omega=0.0,
            weight_scaling_columnwise=False,
            weight_scaling_lr_compensation=False,
            learn_out_scaling=False,
            out_scaling_columnwise=False,
            max_input_size=256,
            max_output_size=512,
        )

    Args:
        config: Any configuration.
    """
    lines = [f"{field.name}={_tree(getattr(config, field.name))}," for field in dataclasses.fields(config)]
    return _call(config, lines)


def _tree(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return whole(value)
    if isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        return "(\n" + textwrap.indent("\n".join(f"{_tree(entry)}," for entry in value), "    ") + "\n)"
    return _word(value)


def _call(config: Any, lines: list[str]) -> str:
    name = type(config).__name__
    return f"{name}(\n" + textwrap.indent("\n".join(lines), "    ") + "\n)" if lines else f"{name}()"


def _word(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_word, value))}{',' if len(value) == 1 else ''})"
    if callable(value):
        return showing.function_name(value)
    return showing.word(value)
