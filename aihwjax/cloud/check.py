"""Whether an archive may be run, in a process of its own: ``python -m aihwjax.cloud.check ARCHIVE``.

One JSON line on standard output says what is in it, or what is wrong with it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aihwjax.arguments import answered
from aihwjax.errors import AihwjaxError, ArchiveError

if TYPE_CHECKING:
    from aihwjax.cloud.document import Facts

_SHOWN_LAYERS = 200
_SHOWN_LETTERS = 40


@answered
def check(path: str, max_parameters: int) -> dict[str, Any]:
    """Return what is in an archive, or what is wrong with it.

    Args:
        path: The archive.
        max_parameters: Most bytes of the model's numbers.

    Returns:
        ``{"ok": True, "epochs" (or chips, or networks of a sweep, then with "longest", the most epochs of one),
        "parameters" (bytes), "dataset", "kind", "layers" (texts)}``, or
        ``{"ok": False, "field" (dotted path or None), "message"}``.
    """
    from aihwjax.cloud import archive
    from aihwjax.experiments import data

    try:
        document, facts, _ = archive.inspect(path, max_parameters)
    except ArchiveError as error:
        return {"ok": False, "field": error.field, "message": str(error)}
    except AihwjaxError as error:
        return {"ok": False, "field": None, "message": str(error)}
    return {
        "ok": True,
        **_counts(facts),
        "parameters": facts.size,
        "dataset": data.by_name(facts.settings["dataset"]).name,
        "kind": document["kind"],
        "layers": layers(document["model"]),
    }


def _counts(facts: Facts) -> dict[str, int]:
    """Return what a job counts, and what of it one network of a sweep does."""
    settings = facts.settings
    if facts.sweep is not None:
        return {"epochs": facts.sweep.networks, "longest": max(facts.sweep.epochs(settings["epochs"]))}
    return {"epochs": settings["epochs" if "epochs" in settings else "inference_repeats"]}


@answered
def layers(model: Mapping[str, Any]) -> list[str]:
    """Return one text for each layer of a model's document, such as ``"AnalogLinear(784, 10)"``.

    Args:
        model: The document.
    """
    entries = model.get("layers")
    if not isinstance(entries, list):
        entries = [model]
    return [_text(entry) for entry in entries[:_SHOWN_LAYERS]]


def _text(layer: Mapping[str, Any]) -> str:
    plain = {name: value for name, value in layer.items() if name != "class" and _is_short(value)}
    sizes = [str(plain.pop(name)) for name in ("in_features", "out_features") if name in plain]
    words = [*sizes, *(f"{name}={value}" for name, value in plain.items())]
    device = layer.get("config", {}).get("device", {}) if isinstance(layer.get("config"), Mapping) else {}
    if isinstance(device, Mapping) and isinstance(device.get("class"), str):
        words.append(device["class"])
    return f"{layer['class']}({', '.join(words)})"


def _is_short(value: Any) -> bool:
    """Whether a value is a number, a word or sizes; other layers and configurations are none."""
    plain = isinstance(value, bool | int | float | str) or (isinstance(value, list) and "{" not in repr(value))
    return plain and len(repr(value)) <= _SHOWN_LETTERS


@answered
def main(arguments: Sequence[str] | None = None) -> None:
    """Check the archive that is named on the command line and print one line.

    Args:
        arguments: Words of the command line; ``None``: those of the process.
    """
    parser = argparse.ArgumentParser(prog="python -m aihwjax.cloud.check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("archive", help="the archive")
    parser.add_argument("--max-parameters", type=int, default=1 << 30, help="most bytes of the model's numbers")
    words = parser.parse_args(arguments)
    print(json.dumps(check(words.archive, words.max_parameters)))


if __name__ == "__main__":
    main()
