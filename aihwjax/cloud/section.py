"""The section ``experiment`` of a document: its entries, and whether they fit the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from aihwjax.cloud.plain import at
from aihwjax.cloud.sendable import metric_names
from aihwjax.config import LARGEST
from aihwjax.errors import AihwjaxError, ArchiveError, ConfigError, DataError
from aihwjax.experiments import data
from aihwjax.experiments.best import wanted_goal
from aihwjax.experiments.entries import SETTINGS, check_names, check_settings
from aihwjax.experiments.losses import check_loss
from aihwjax.experiments.shapes import check_loss_fits, prediction
from aihwjax.experiments.weighting import check_class_weights
from aihwjax.layer_rates import check_rates
from aihwjax.optim import check_fits
from aihwjax.optim.named import from_entry

_SECTION = "experiment"
_DEFAULTS = {
    "batch_size": 64,
    "loss_function": "NLLLoss",
    "epochs": 30,
    "learning_rate": 0.05,
    "key": 0,
    "max_elements_train": 0,
}
_BOUNDS = {
    "batch_size": (1, 1_000_000),
    "epochs": (0, 2**31 - 1),
    "accumulate": (1, 1_000_000),
    "max_elements_train": (0, 2**31 - 1),
}
_MOST_ENTRIES = 10_000
"""Rates by path, or class weights."""


def settings(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of the section, defaults filled in; the key is not looked at.

    Args:
        entries: The section, or any other table.

    Raises:
        ArchiveError: If an entry is missing, unknown or not allowed; has its path.
    """
    with at(_SECTION):
        check_names(entries, [name for name in SETTINGS if name != "validate_every"], _SECTION)
    if "dataset" not in entries:
        raise ArchiveError("experiment.dataset is missing: give the name of a data set", "experiment.dataset")
    for name, value in entries.items():
        if name != "key":
            with at(f"{_SECTION}.{name}"):
                check_settings({name: value})
                _check(name, value)
    found = {**_DEFAULTS, **entries}
    if "class_weights" in found:
        with at(f"{_SECTION}.class_weights"):
            check_class_weights(found["class_weights"], found["loss_function"])
    return found


def _check(name: str, value: Any) -> None:
    """Refuse the value of an entry that is of the right kind."""
    where = f"{_SECTION}.{name}"
    if name in _BOUNDS and not _BOUNDS[name][0] <= value <= _BOUNDS[name][1]:
        least, most = _BOUNDS[name]
        raise ConfigError(f"{where}={value} is not allowed: give {least} to {most}")
    if isinstance(value, Mapping | list) and len(value) > _MOST_ENTRIES:
        raise ConfigError(f"{where} has {len(value)} entries: give at most {_MOST_ENTRIES}")
    if name == "learning_rate":
        for path, rate in (value if isinstance(value, Mapping) else {"": value}).items():
            if not 0 <= rate <= LARGEST:  # as in training
                raise ConfigError(f"{where}{'.' if path else ''}{path}={rate} is not allowed: give 0 to {LARGEST:g}")
        check_rates(value)
    if name == "optimizer":
        from_entry(value)
    if name == "loss_function":
        check_loss(value)
    if name == "dataset":
        if value.startswith("tfds:"):
            raise DataError(f"dataset={value!r} is not allowed in the cloud: give one of {', '.join(data.names())}")
        if data.by_name(value).name not in data.names():
            raise DataError(f"{where}={value!r} is not known")


def check_model(model: nnx.Module, found: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
    """Refuse a model that does not fit data set and loss; it is applied to two examples, abstractly.

    Args:
        model: The model; its numbers may be abstract too.
        found: Settings of an experiment of either kind.

    Returns:
        Shape of its outputs.

    Raises:
        ArchiveError: If it doesn't fit; has the path of the layer.
    """
    dataset = data.by_name(found["dataset"])
    try:
        output = prediction(model, jax.ShapeDtypeStruct((2, *dataset.shape), np.float32))
        if dataset.classes is not None and output.shape[1] < dataset.classes:
            raise DataError(f"the model has {output.shape[1]} outputs: {dataset.name} needs {dataset.classes}")
        check_loss_fits(found["loss_function"], output, jax.ShapeDtypeStruct((2,), np.int32))
    except AihwjaxError as error:
        match = re.match(r"layers/(\d+)", str(error))
        raise ArchiveError(str(error), f"model[{match[1]}]" if match else "model") from None
    except Exception as error:  # layers of other libraries say it in their own way
        raise ArchiveError(f"the model does not fit {dataset.name}: {error}", "model") from None
    return output


def check_fit(model: nnx.Module, found: Mapping[str, Any]) -> None:
    """Refuse a model that does not fit the settings.

    Args:
        model: The model; its numbers may be abstract too.
        found: From :func:`settings`.

    Raises:
        ArchiveError: If it doesn't fit; has the path of the layer or the entry.
    """
    output = check_model(model, found)
    with at(f"{_SECTION}.learning_rate"):
        check_fits(check_rates(found["learning_rate"]), model)
    weights = found.get("class_weights")
    if weights is not None and len(weights) != output.shape[1]:
        text = f"there are {len(weights)} class_weights: the model has {output.shape[1]} outputs"
        raise ArchiveError(text, f"{_SECTION}.class_weights")
    with at(f"{_SECTION}.keep_best"):
        wanted_goal(found.get("keep_best"), found.get("best"), metric_names(model, output))
