"""Experiments as TOML files: sections ``experiment``, ``model`` and ``tile``.

.. code-block:: toml

    [experiment]
    dataset = "mnist10k"
    epochs = 5
    learning_rate = 0.1

    [[model.layers]]
    class = "Flatten"

    [[model.layers]]
    class = "AnalogLinear"
    in_features = 784
    out_features = 10

    [tile]
    class = "SingleRPUConfig"

    [tile.device]
    class = "ConstantStepDevice"
    dw_min = 0.001

Every analog layer has the configuration of the section ``tile``; fields that are not given have
their defaults. A layer's own ``tile`` table changes fields for this layer. ``class`` of the
section names a tile configuration function; of a part, a configuration class. Instead of a class,
the section and every part can name a preset, whose fields the other entries change::

    [tile]
    preset = "TikiTakaEcRamPreset"
    update.desired_bl = 10
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flax import nnx

from aihwjax import config as configs
from aihwjax.errors import ConfigError, nearest
from aihwjax.experiments.architecture import from_document, registry, takes
from aihwjax.experiments.best import Extreme
from aihwjax.experiments.entries import SETTINGS, check_names, check_settings, table
from aihwjax.experiments.training import BasicTraining
from aihwjax.optim.named import from_entry
from aihwjax.random import as_key
from aihwjax.tile.config import TileConfig

SECTIONS = ("experiment", "model", "tile")
"""Tables of a document."""
_LAYER_SETTINGS = ("class", "tile")


class ExperimentFile(NamedTuple):
    """What a file describes."""

    experiment: BasicTraining
    """The experiment."""
    key: int
    """Seed of the run and of the initial weights."""
    max_elements_train: int
    """If above 0, only so many examples of each split."""
    resolved: dict[str, Any]
    """The document with every field of the tile filled in; reading it gives the same experiment."""
    keep_best: str | None = None
    """Name of the metric by which the model of the best epoch is kept."""
    best: Extreme | None = None
    """Which of its values is the best; ``None``: as the name says."""


def read(path: str | Path) -> dict[str, Any]:
    """Read a TOML file into a dictionary.

    Args:
        path: The file.

    Raises:
        ConfigError: If it cannot be read or is not valid TOML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"cannot read the experiment {str(path)!r}: {reason}") from None
    return configs.read_toml(text, repr(str(path)))


def assign(
    document: Mapping[str, Any],
    assignments: Iterable[str],
    settings: Iterable[str] = SETTINGS,
    sections: Iterable[str] = SECTIONS,
) -> dict[str, Any]:
    """Return a document with values at dotted paths replaced.

    A path starts with a section, or directly with a field of ``experiment`` or ``tile``:
    ``device.dw_min`` is ``tile.device.dw_min``. Values are written as in TOML; text needs no quotes.

    Args:
        document: The document.
        assignments: ``"path=value"`` each.
        settings: Fields of ``experiment``.
        sections: Tables of the document.

    Raises:
        ConfigError: If an assignment has no ``=``, or its path leads through a value.
    """
    result = _copied(document)
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator or not path.strip():
            raise ConfigError(f"--set {assignment!r} is not allowed: give PATH=VALUE, such as device.dw_min=0.002")
        names = path.strip().split(".")
        if names[0] not in sections:
            names = [_section(names[0], settings), *names]
        _put(result, names, _value(text.strip()), path.strip())
    return result


def assigned(section: str, values: Mapping[str, Any]) -> list[str]:
    """Return assignments of values that were given as options, for :func:`assign`.

    Args:
        section: Where they belong.
        values: By name; ``None``: not given.
    """
    given = {name: value for name, value in values.items() if value is not None}
    return [f"{section}.{name}={json.dumps(value, ensure_ascii=False)}" for name, value in given.items()]


def build(document: Mapping[str, Any], key: int | None = None) -> ExperimentFile:
    """Build the experiment that a document describes.

    Args:
        document: From :func:`read`.
        key: Replaces the document's key.

    Raises:
        ConfigError: If a section, field, layer or class is unknown (with the nearest name), or a value
            is not allowed.
        DataError: If there is no such data set.
    """
    check_names(document, SECTIONS, "the experiment")
    settings = check_settings(table(document, "experiment"))
    seed = take_key(settings, key)
    limit = settings.pop("max_elements_train", 0)
    kept: dict[str, Any] = {name: settings.pop(name) for name in ("keep_best", "best") if name in settings}
    if "dataset" not in settings:
        raise ConfigError("experiment.dataset is missing: give the name of a data set, such as 'mnist10k'")
    model, sections = build_network(document, seed)
    optimizer = from_entry(settings["optimizer"]) if "optimizer" in settings else None
    experiment = BasicTraining(model=model, **{**settings, "optimizer": optimizer})
    chosen = {"key": seed, "max_elements_train": limit, **kept, **settings}
    described = {name: chosen.get(name, getattr(experiment, name, None)) for name in SETTINGS}
    resolved = without_none({"experiment": described, **sections})
    return ExperimentFile(experiment, seed, limit, resolved, kept.get("keep_best"), kept.get("best"))


def take_key(settings: dict[str, Any], key: int | None) -> int:
    """Remove the key from settings and return it.

    Args:
        settings: The section ``experiment``.
        key: Replaces it; ``None``: it counts.

    Raises:
        ConfigError: If it is too large for a seed.
    """
    seed = settings.pop("key", 0) if key is None else key
    settings.pop("key", None)
    as_key(seed)
    return int(seed)


def build_network(document: Mapping[str, Any], seed: int) -> tuple[nnx.Module, dict[str, Any]]:
    """Build the model of a document, and return the sections that say what it is, every field of the tile filled in.

    Args:
        document: From :func:`read`.
        seed: Of the initial weights.

    Raises:
        ConfigError: If a field, layer or class is unknown (with the nearest name), or a value is not allowed.
    """
    tile = _tile(table(document, "tile"))
    model = table(document, "model")
    check_names(model, ("layers",), "model")
    layers = model.get("layers")
    if not isinstance(layers, list) or not layers:
        raise ConfigError("model.layers is missing: give a list of layers")
    network = {"class": "AnalogSequential", "layers": [_layer(entry, tile, i) for i, entry in enumerate(layers)]}
    return from_document(network, nnx.Rngs(seed)), {"tile": tile, "model": {"layers": _copied(layers)}}


def build_tile(document: Mapping[str, Any]) -> TileConfig:
    """Build the configuration of a document's section ``tile``; the other sections may be missing.

    Args:
        document: From :func:`read`.

    Raises:
        ConfigError: If a section, field or class is unknown (with the nearest name), or a value is not allowed.
    """
    check_names(document, SECTIONS, "the experiment")
    return configs.from_dict(_tile(table(document, "tile")), path="tile")


def to_toml(document: Mapping[str, Any]) -> str:
    """Return a document as TOML text."""
    import tomli_w

    return tomli_w.dumps(document)


def tile_functions() -> dict[str, Any]:
    """Return the tile configuration functions that a file may name, by name."""
    from aihwjax.tile import config as tile_config

    modules = [tile_config]
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if name.endswith("Config") and inspect.isfunction(value):
                found[name] = value
    return {"TileConfig": tile_config.TileConfig, **found}


def merged(base: Mapping[str, Any], changes: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return a configuration document with some entries changed.

    A part whose class changes starts from that class's defaults, one that names a preset from the preset.

    Args:
        base: From :func:`aihwjax.config.to_dict`.
        changes: Nested entries.
        path: Where they are, for errors.

    Raises:
        ConfigError: If a field, class or preset is unknown (with the nearest name).
    """
    if "preset" in changes:
        base, changes = _from_preset(changes, path)
    name = changes.get("class", base["class"])
    if name != base["class"]:
        base = configs.default_dict(configs.registered(str(name)))
    known = ["class", *(field.name for field in dataclasses.fields(configs.registered(str(name))))]  # type: ignore[arg-type]
    result = dict(base)
    for field, value in changes.items():
        where = f"{path}.{field}"
        if field not in known:
            raise ConfigError(f"{where} is not a field of {name}{nearest(field, known)}")
        inner = base.get(field)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = merged(inner, value, where)
        elif isinstance(inner, Mapping):
            raise ConfigError(f"{where}={value!r} is not allowed: give a table with fields of {inner['class']}")
        elif isinstance(value, Mapping):
            value = _entry(value, where)
        elif isinstance(value, list):
            value = [_entry(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
        result[field] = value
    return result


def _entry(entry: Any, path: str) -> Any:
    """Return an entry of a list, with its preset put in place."""
    return merged({}, entry, path) if isinstance(entry, Mapping) and "preset" in entry else entry


def _from_preset(table: Mapping[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the document of the preset that a table names, and the table's other entries."""
    from aihwjax import presets

    name = table["preset"]
    if "class" in table:
        raise ConfigError(f"{path} has both class={table['class']!r} and preset={name!r}: give one of them")
    try:
        build = presets.by_name(str(name))
    except ConfigError as error:
        raise ConfigError(f"{path}.preset={name!r} is not allowed: {error}") from None
    return configs.to_dict(build()), {field: value for field, value in table.items() if field != "preset"}


def _tile(table: Mapping[str, Any]) -> dict[str, Any]:
    if "preset" in table:
        base, changes = _from_preset(table, "tile")
        if base["class"] != TileConfig.__name__:
            raise ConfigError(f"tile.preset={table['preset']!r} is no tile: it is a {base['class']}")
    else:
        functions = tile_functions()
        name = table.get("class", "TileConfig")
        if name not in functions:
            raise ConfigError(f"tile.class={name!r} is not a tile configuration{nearest(str(name), functions)}")
        base = configs.to_dict(functions[name]())
        changes = {field: value for field, value in table.items() if field != "class"}
    document = merged(base, changes, "tile")
    return configs.to_dict(configs.from_dict(document, path="tile"))


def _layer(entry: Any, tile: Mapping[str, Any], number: int) -> dict[str, Any]:
    where = f"model[{number}]"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}={entry!r} is not allowed: give a table with the entry 'class'")
    layer = {name: value for name, value in entry.items() if name != "tile"}
    known = registry().get(str(entry.get("class")))
    analog = known is not None and takes(known, "config")
    if analog and "config" not in layer:
        layer["config"] = merged(tile, table(entry, "tile", f"{where}.tile"), f"{where}.tile")
    elif "tile" in entry:
        raise ConfigError(f"{where}.tile is not allowed: {entry.get('class')} is no analog layer")
    return layer


def _section(name: str, settings: Iterable[str]) -> str:
    fields = [field.name for field in dataclasses.fields(TileConfig)]
    if name in settings:
        return "experiment"
    if name in fields or name in ("class", "preset"):
        return "tile"
    known = (*SECTIONS, *settings, *fields, "preset")
    raise ConfigError(f"--set {name!r} is not known: a path starts with a section or its field{nearest(name, known)}")


def _put(document: dict[str, Any], names: list[str], value: Any, path: str) -> None:
    inner: Any = document
    for name in names[:-1]:
        if isinstance(inner, list) and name.isdecimal() and int(name) < len(inner):
            inner = inner[int(name)]
        elif isinstance(inner, dict):
            inner = inner.setdefault(name, {})
        else:
            inner = None
        if not isinstance(inner, dict | list):
            raise ConfigError(f"--set {path} is not allowed: {name!r} has no entries")
    if not isinstance(inner, dict):
        raise ConfigError(f"--set {path} is not allowed: it has no entry {names[-1]!r}")
    inner[names[-1]] = value


def _value(text: str) -> Any:
    try:
        return configs.read_toml(f"value = {text}")["value"]
    except ConfigError:
        return text


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(entry) for name, entry in value.items()}
    return [_copied(entry) for entry in value] if isinstance(value, list) else value


def without_none(value: Any) -> Any:
    """Return a document that TOML can say, which has no null.

    A field that is None is left out and takes its default, which is None.

    Args:
        value: A document, or a part of one.
    """
    if isinstance(value, Mapping):
        return {name: without_none(entry) for name, entry in value.items() if entry is not None}
    return [without_none(entry) for entry in value] if isinstance(value, list) else value
