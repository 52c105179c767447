"""What an experiment's document says, in rows for people."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_SETTINGS = {
    "dataset": "Data set",
    "loss_function": "Loss",
    "epochs": "Epochs",
    "inference_repeats": "Chips",
    "times": "Times in seconds",
    "batch_size": "Batch size",
    "accumulate": "Batches in an update",
    "learning_rate": "Learning rate",
    "optimizer": "Optimizer",
    "class_weights": "Class weights",
    "keep_best": "Kept epoch: the best by",
    "best": "Best is the",
    "key": "Random key",
    "max_elements_train": "Examples of each split",
    "max_elements": "Examples",
}
_UNLIMITED = (("max_elements_train", 0), ("max_elements", 0))
_MOST_ROWS = 100
_MOST_PARTS = 60
_MOST_LETTERS = 200

Row = tuple[str, str]


@dataclass(frozen=True)
class Part:
    """A part of a tile's configuration, such as its device."""

    name: str
    kind: str
    """Its class."""
    rows: list[Row]


@dataclass(frozen=True)
class Tiles:
    """The configuration of the tiles of some layers."""

    layers: list[int]
    """Positions, from 1."""
    kind: str
    device: str | None
    parts: list[Part]


@dataclass(frozen=True)
class Configuration:
    """What an experiment is made of."""

    settings: list[Row]
    layers: list[str]
    tiles: list[Tiles]
    """Each different configuration once."""


def configuration(summary: Mapping[str, Any] | None, document: Mapping[str, Any] | None) -> Configuration:
    """Return what is known of an experiment.

    Args:
        summary: From the check of its archive; ``None``: it was not submitted.
        document: The document, if it can be shown.
    """
    summary, document = summary or {}, document or {}
    given = document.get("experiment")
    entries = given if isinstance(given, Mapping) else summary
    settings = [
        (label, _text(entries[name]))
        for name, label in _SETTINGS.items()
        if entries.get(name) is not None and (name, entries[name]) not in _UNLIMITED
    ]
    settings += _varied(document.get("sweep"))
    if isinstance(summary.get("parameters"), int):
        settings.append(("Size of the model", f"{summary['parameters']:,} bytes"))
    layers = summary.get("layers")
    return Configuration(settings, [str(layer) for layer in layers or []], _tiles(document.get("model")))


def _varied(sweep: Any) -> list[Row]:
    """Return what a sweep varies."""
    points = sweep.get("points") if isinstance(sweep, Mapping) else None
    if not isinstance(points, list) or not points:
        return []
    paths = dict.fromkeys(str(path) for point in points if isinstance(point, Mapping) for path in point)
    rows = [("Configurations", f"{len(points):,}"), ("Varied", _text([*paths]))]
    for name, entry in (("Seeds", "seeds"), ("Halving", "halving")):
        if isinstance(sweep.get(entry), list | Mapping):
            rows.append((name, _text(sweep[entry])))
    return rows


def _tiles(model: Any) -> list[Tiles]:
    layers = model.get("layers") if isinstance(model, Mapping) else None
    found: dict[str, tuple[list[int], Mapping[str, Any]]] = {}
    for position, layer in enumerate(layers if isinstance(layers, list) else [model], 1):
        config = layer.get("config") if isinstance(layer, Mapping) else None
        if isinstance(config, Mapping):
            found.setdefault(json.dumps(config, sort_keys=True), ([], config))[0].append(position)
    return [_tile(positions, config) for positions, config in found.values()]


def _tile(positions: list[int], config: Mapping[str, Any]) -> Tiles:
    parts = list(itertools.islice(_parts(config, ""), _MOST_PARTS))
    device = config.get("device")
    return Tiles(positions, _class(config), _class(device) if isinstance(device, Mapping) else None, parts)


def _parts(value: Mapping[str, Any], path: str) -> Iterator[Part]:
    """Yield a table and then those inside it, each under its path."""
    rows = [(str(name), _text(entry)) for name, entry in value.items() if name != "class" and not _inner(entry)]
    if rows or path:
        yield Part(path or "tile", _class(value), rows[:_MOST_ROWS])
    for name, entry in value.items():
        where = f"{path}.{name}" if path else str(name)
        for place, inner in _inner(entry):
            yield from _parts(inner, where + place)


def _inner(value: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the tables of an entry: itself, or those of a list."""
    if isinstance(value, Mapping):
        return [("", value)]
    found = enumerate(value) if isinstance(value, list) else ()
    return [(f"[{position}]", entry) for position, entry in found if isinstance(entry, Mapping)]


def _class(value: Mapping[str, Any]) -> str:
    return _text(value.get("class", ""))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, str):
        text = value
    elif isinstance(value, list):
        text = ", ".join(_text(entry) for entry in value[:20])
    else:
        text = json.dumps(value)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"
