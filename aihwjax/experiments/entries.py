"""Entries of the documents that describe experiments: which there are, and of what kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aihwjax.errors import ConfigError, nearest

SETTINGS: dict[str, type] = {
    "dataset": str,
    "batch_size": int,
    "loss_function": str,
    "epochs": int,
    "learning_rate": float,
    "optimizer": dict,
    "class_weights": list,
    "validate_every": int,
    "accumulate": int,
    "key": int,
    "max_elements_train": int,
    "keep_best": str,
    "best": str,
}
"""Entries of the section ``experiment``, and what they are."""

INFERENCE_SETTINGS: dict[str, type] = {
    "dataset": str,
    "batch_size": int,
    "loss_function": str,
    "weight_template_id": str,
    "inference_repeats": int,
    "inference_time": float,
    "remap_weights": bool,
    "times": list,
    "n_inference_times": int,
    "key": int,
    "max_elements": int,
}
"""Those of an inference experiment."""

_KINDS = {
    bool: "true or false",
    str: "text",
    int: "a whole number",
    float: "a number",
    list: "a list of numbers",
    dict: "a table with a name and numbers",
}


def check_settings(entries: Mapping[str, Any], known: Mapping[str, type] = SETTINGS) -> dict[str, Any]:
    """Return the section ``experiment`` if its entries are known and of the right kind.

    Args:
        entries: The section.
        known: Which there are.

    Raises:
        ConfigError: If an entry is unknown (with the nearest name) or of another kind.
    """
    check_names(entries, known, "experiment")
    for name, value in entries.items():
        where = f"experiment.{name}"
        if name == "learning_rate" and isinstance(value, Mapping):  # rates by path of a layer
            for path, rate in value.items():
                _check_kind(f"{where}.{path}", rate, float)
            continue
        _check_kind(where, value, known[name])
        for i, entry in enumerate(value if known[name] is list else ()):
            _check_kind(f"{where}[{i}]", entry, float)
    return dict(entries)


def _check_kind(where: str, value: Any, kind: type) -> None:
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, int | float if kind is float else kind):
        text = " ".join(repr(value).split())[:60]
        raise ConfigError(f"{where}={text} is not allowed: give {_KINDS[kind]}")


def check_names(entries: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse entries that are not known.

    Args:
        entries: A table.
        known: Names of the entries it may have.
        where: What it is, for the error.

    Raises:
        ConfigError: If there is another one, with the nearest name.
    """
    for name in entries:
        if name not in known:
            raise ConfigError(f"{where} has no entry {name!r}{nearest(name, known)}")


def table(document: Mapping[str, Any], name: str, where: str = "") -> Mapping[str, Any]:
    """Return a table of a document, empty if it is missing.

    Args:
        document: The document.
        name: Name of the table.
        where: Its path, for the error; by default its name.

    Raises:
        ConfigError: If there is something else in its place.
    """
    value = document.get(name, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where or name}={value!r} is not allowed: give a table")
    return value
