"""Weight templates: trained weights from a file, a folder or an address, in a model that is there already.

Files hold numbers and nothing else (safetensors, ``.npz``, what :func:`aihwjax.save` writes); nothing in them is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from aihwjax import random
from aihwjax.errors import AihwjaxError, DataError
from aihwjax.experiments.data.single_file import fetched, is_address
from aihwjax.experiments.inferencing import BasicInferencing
from aihwjax.experiments.storage import Storage, holds_records
from aihwjax.experiments.storing import load
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.loading.loading import load_weights
from aihwjax.nn.loading.places import joined, spots
from aihwjax.nn.paths import analog_layers
from aihwjax.nn.programming import tiles_of
from aihwjax.random import Noise

_ENDINGS = (".safetensors", ".npz")


def prepared(experiment: BasicInferencing, key: Noise) -> nnx.Module:
    """Return a copy of an experiment's model with the weights of its template, scaled to the range of the devices.

    Without a template it is a plain copy. The configuration of tiles is the model's own, whatever the template's was.

    Args:
        experiment: The experiment; its model stays as it is.
        key: Source of write noise.

    Raises:
        DataError: If the template is missing, damaged, cannot be downloaded, or lacks weights of the model.
        ConfigError: If the template has numbers that the model has no place for, or its address is not allowed.
        ShapeError: If the weights of a layer have another shape; names the layer.
        CheckpointError: If the folder of a saved model is damaged, or its layers are not of this library.
        ModuleError: If the model has no analog layer.
        MissingExtraError: If safetensors is not installed.
    """
    tiles_of(experiment.model)
    model, template = nnx.clone(experiment.model), str(experiment.weight_template_id)
    if not template:
        return model
    key = random.as_noise(key)
    try:
        _fill(model, _source(template, experiment.model), random.derive(key, "template"))
    except AihwjaxError as error:
        raise type(error)(f"weight_template_id={template!r}: {error}") from None
    if experiment.remap_weights:
        for path, layer in analog_layers(model).items():
            _remap(layer, random.derive(random.derive(key, "remap"), path))
    return model


def _source(template: str, model: nnx.Module) -> str | Path | dict[str, Any]:
    """Return what :func:`load_weights` reads."""
    path = fetched(template, _ENDINGS) if is_address(template) else Path(template).expanduser()
    if path.is_dir() and not any(file.suffix in _ENDINGS for file in path.iterdir()):
        if not holds_records(path):
            raise DataError("the folder has no weights: give a file, or a folder that aihwjax.save wrote")
        return _numbers(load(path) if _names_its_layers(path) else load(path, model))
    if not path.exists():
        raise DataError("there is no such file: give its path, a folder that aihwjax.save wrote, or an address")
    if path.is_file() and path.suffix not in _ENDINGS:
        raise DataError(
            f"a file {path.suffix or 'without an ending'} is not allowed: give one of {' or '.join(_ENDINGS)}, which "
            "hold numbers and no code"
        )
    return path


def _names_its_layers(path: Path) -> bool:
    """Whether the structure of a saved model was saved, too."""
    storage = Storage(path, keep=1, read_only=True)
    records = storage.numbers()
    document = storage.document(records[0]) if records else {}
    storage.close()
    return document.get("model") is not None or not records


def _numbers(model: nnx.Module) -> dict[str, Any]:
    """Return all numbers of a model by place: logical weights of analog layers, and digital variables."""
    found: dict[str, Any] = {
        place: spot.variable.get_value() for place, spot in spots(model).items() if spot.variable is not None
    }
    for path, layer in analog_layers(model).items():
        read: Any = lambda layer: layer.get_weights()  # noqa: E731
        for _ in layer.stacked():
            read = nnx.vmap(read)
        weights, bias = read(layer)
        found[joined(path, "weights")] = weights
        if bias is not None:
            found[joined(path, "bias")] = bias
    return {place: np.asarray(value) for place, value in found.items()}


def _fill(model: nnx.Module, source: str | Path | dict[str, Any], key: Noise) -> None:
    loaded = load_weights(model, source, _place, key=key)
    if loaded.missing:
        more = f" (and {len(loaded.missing) - 1} more)" if len(loaded.missing) > 1 else ""
        raise DataError(f"it has nothing for {loaded.missing[0]} of the model{more}")


def _place(name: str) -> str:
    """Return the place of an array: its name, or the number of a layer of a sequence and what follows."""
    place = name.replace(".", "/")
    return f"layers/{place}" if place.split("/")[0].isdecimal() else place


def _remap(layer: AnalogLayer, key: Noise) -> None:
    """Write the weights of a layer, or of a stack of them, again with a largest magnitude of 1 on each tile."""

    def one(layer: AnalogLayer, key: Any) -> None:
        layer.remap_weights(1.0, key=key)

    apply: Any = one
    stack = layer.stacked()
    for _ in stack:
        apply = nnx.vmap(apply)
    noise = random.plain(key)
    apply(layer, jax.random.split(noise, stack) if stack else noise)
