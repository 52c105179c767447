"""Configurations as text: what differs from the defaults (``repr``), and all of it on demand."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from typing import Any

from aihwjax import arguments, showing


def short(config: Any) -> str:
    """Return the call that makes a configuration, with the fields that differ from the defaults of its class.

    Args:
        config: Any configuration.
    """
    fields = dataclasses.fields(config)
    values = {field.name: getattr(config, field.name) for field in fields}
    changed = [f"{f.name}={_word(values[f.name])}" for f in fields if not showing.is_default(values[f.name], f)]
    return f"{type(config).__name__}({', '.join(changed)})"


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
