"""``aihwjax presets``: a table of the presets, and one of them in full."""

from __future__ import annotations

import enum
import json
import re
import textwrap
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from aihwjax import presets
from aihwjax.config import Config
from aihwjax.errors import ConfigError, nearest
from aihwjax.presets import registry
from aihwjax.presets.facts import crosspoint, differing, facts, kind, sparse
from aihwjax.presets.registry import Preset

_COLUMNS = ("preset", "family", "device", "source")
_PIPE = 500
"""Width for a program that reads the table: nothing is cut."""


def show(pattern: str | None, family: str | None, device: str | None, toml: bool) -> None:
    """Print the presets that fit, or the one with this name.

    Args:
        pattern: Name of a preset, or a text to look for in name, family, description and source.
        family: Only this family.
        device: Only presets with such a device: a part of the name of its preset or class.
        toml: Print the one preset as TOML.

    Raises:
        ConfigError: If nothing fits, or ``toml`` is asked of a pattern.
    """
    if pattern is not None and pattern in presets.names():
        if family is not None or device is not None:
            raise ConfigError(f"{pattern!r} is one preset: give no --family and no --device with it")
        entry = registry.find(pattern)
        print(to_toml(entry.build()), end="") if toml else _print_one(entry)
        return
    if toml:
        given = "no preset" if pattern is None else repr(pattern)
        hint = "" if pattern is None else nearest(pattern, presets.names())
        raise ConfigError(f"--toml needs the name of one preset: {given} was given{hint}")
    _print_table(_selected(pattern, family, device))


def _selected(pattern: str | None, family: str | None, device: str | None) -> list[Preset]:
    wanted = None if family is None else registry.find_family(family)
    found = [
        entry
        for entry in registry.entries()
        if wanted in (None, entry.family)
        and (pattern is None or pattern.lower() in f"{entry.name}\n{entry.family}\n{entry.text}".lower())
        and (device is None or _has_device(entry, device))
    ]
    if not found:
        asked = {"pattern": pattern, "--family": family, "--device": device}
        text = ", ".join(f"{name} {value!r}" for name, value in asked.items() if value is not None)
        raise ConfigError(f"no preset fits {text}{nearest(pattern or device or '', presets.names())}")
    return found


def _has_device(entry: Preset, text: str) -> bool:
    device = crosspoint(entry.build())
    return device is not None and text.lower() in f"{entry.name}\n{type(device).__name__}".lower()


def _print_table(entries: list[Preset]) -> None:
    """Print a line a preset: whole in a pipe, without the sources where the terminal is too narrow for them."""
    console = _console()
    for columns in (_COLUMNS, _COLUMNS[:-1]):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for column in columns:
            table.add_column(column, no_wrap=True)
        for entry in entries:
            device = crosspoint(entry.build())
            name = "" if device is None else type(device).__name__
            table.add_row(*(entry.name, entry.family, name, escape(entry.short_citation))[: len(columns)])
        if console.measure(table, options=console.options.update(width=_PIPE)).maximum <= console.width:
            break
    console.print(table)
    if columns != _COLUMNS:
        console.print("A wider terminal has the sources, too; aihwjax presets NAME shows all of one.", style="dim")


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE)


def _print_one(entry: Preset) -> None:
    console, config = _console(), entry.build()
    console.print(Text(entry.name, style="bold"), Text(f"({entry.family})"))
    console.print()
    console.print(Text(entry.text))
    console.print()
    console.print(Text(f"{type(config).__name__}, where not the default", style="italic"))
    table = Table("field", "value", box=box.SIMPLE_HEAD)
    for path, value in _shortened(differing(config)).items():
        table.add_row(escape(path), escape(_word(value)))
    console.print(table)
    numbers = facts(config)
    if numbers is not None and kind(config) != "parameters":
        line = f"{numbers.device}: granularity {numbers.granularity:.6g}, {numbers.states:.5g} states"
        if numbers.write_noise:
            line += f", write noise {numbers.write_noise:.4g}"
        console.print(Text(line))


def _shortened(fields: Mapping[str, object]) -> dict[str, object]:
    """Replace the fields of a device that is the same as the one before it by one line."""
    cells: dict[str, dict[str, object]] = {}
    for path, value in fields.items():
        match = re.fullmatch(r"(.*\[\d+\])\.(.*)", path)
        if match:
            cells.setdefault(match[1], {})[match[2]] = value
    shown: dict[str, object] = {}
    for path, value in fields.items():
        cell = next((cell for cell in cells if path.startswith(f"{cell}.")), None)
        before = None if cell is None else _before(cell)
        if before is not None and cells[str(cell)] == cells.get(before):
            shown[str(cell)] = f"the same as {before}"
        else:
            shown[path] = value
    return shown


def _before(cell: str) -> str:
    stem, _, number = cell.removesuffix("]").rpartition("[")
    return f"{stem}[{int(number) - 1}]"


def _word(value: object) -> str:
    if isinstance(value, enum.Enum):
        return value.name
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def to_toml(config: Config) -> str:
    """Return a configuration as TOML, with the fields that are not defaults and without table headers.

    So it can be read by :func:`aihwjax.config.from_toml`, and just as well be pasted below the
    header ``[tile]`` (or ``[tile.device]``) of an experiment's file.

    Args:
        config: Any configuration.
    """
    return "\n".join(_lines(sparse(config), "")) + "\n"


def _lines(table: Mapping[str, object], path: str) -> list[str]:
    lines = []
    for name, value in table.items():
        where = f"{path}.{name}" if path else name
        lines += _lines(value, where) if isinstance(value, Mapping) else [f"{where} = {_toml(value)}"]
    return lines


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        entries = [_toml(entry) for entry in value]
        if any(isinstance(entry, Mapping) for entry in value):
            return "[\n" + textwrap.indent(",\n".join(entries), "    ") + ",\n]"
        return "[" + ", ".join(entries) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else repr(value)
