"""The experiment document of an inference experiment: the same as that of a training but for its section.

.. code-block:: json

    {"kind": "BasicInferencing",
     "experiment": {"dataset": "mnist10k", "inference_repeats": 5, "times": [0, 1, 3600], "key": 0}}

A template does not travel: its weights are those of the model, and so the numbers beside the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from aihwjax.chip_results import KIND
from aihwjax.cloud.keys import key_entry
from aihwjax.cloud.plain import at
from aihwjax.cloud.sendable import dataset_name, loss_entry
from aihwjax.errors import AihwjaxError, ArchiveError, ConfigError, DataError
from aihwjax.experiments import data
from aihwjax.experiments.entries import check_names, check_settings
from aihwjax.experiments.inferencing import BasicInferencing, check_times
from aihwjax.experiments.losses import check_loss
from aihwjax.nn.programmed_tile import checked_config
from aihwjax.nn.programming import tiles_of

__all__ = ["KIND", "check_chips", "experiment_of", "section_of", "settings"]

_SECTION = "experiment"
_ENTRIES: dict[str, type] = {
    "dataset": str,
    "batch_size": int,
    "loss_function": str,
    "inference_repeats": int,
    "times": list,
    "key": int,
    "max_elements": int,
}
_DEFAULTS = {
    "batch_size": 10,
    "loss_function": "CrossEntropyLoss",
    "inference_repeats": 2,
    "key": 0,
    "max_elements": 0,
}
_BOUNDS = {"batch_size": (1, 1_000_000), "inference_repeats": (1, 2**31 - 1), "max_elements": (0, 2**31 - 1)}
_MOST_TIMES = 1_000
_NOT_FIELDS = ("key", "max_elements")


def section_of(experiment: BasicInferencing, key: Any, max_elements: int) -> dict[str, Any]:
    """Return the section ``experiment`` of an inference experiment.

    Args:
        experiment: The experiment, without a template.
        key: Whole number or JAX key of the run.
        max_elements: If above 0, only so many examples.

    Raises:
        ConfigError: If the loss is a function, or a number is not allowed.
        DataError: If the data set has no name of its own.
    """
    if isinstance(max_elements, bool) or not isinstance(max_elements, int | np.integer) or max_elements < 0:
        raise ConfigError(f"max_elements={max_elements!r} is not allowed: give a whole number from 0")
    return {
        "dataset": dataset_name(experiment.dataset),
        "batch_size": int(experiment.batch_size),
        "loss_function": loss_entry(experiment.loss_function),
        "inference_repeats": int(experiment.inference_repeats),
        "times": experiment.time_grid(),
        "key": key_entry(key),
        "max_elements": int(max_elements),
    }


def settings(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of the section, defaults filled in; the key is not looked at.

    Args:
        entries: The section, or any other table.

    Raises:
        ArchiveError: If an entry is missing, unknown or not allowed; has its path.
    """
    with at(_SECTION):
        check_names(entries, _ENTRIES, _SECTION)
    for name in ("dataset", "times"):
        if name not in entries:
            raise ArchiveError(f"{_SECTION}.{name} is missing", f"{_SECTION}.{name}")
    for name, value in entries.items():
        if name != "key":
            with at(f"{_SECTION}.{name}"):
                check_settings({name: value}, _ENTRIES)
                _check(name, value)
    return {**_DEFAULTS, **entries}


def _check(name: str, value: Any) -> None:
    """Refuse the value of an entry that is of the right kind."""
    where = f"{_SECTION}.{name}"
    if name in _BOUNDS and not _BOUNDS[name][0] <= value <= _BOUNDS[name][1]:
        least, most = _BOUNDS[name]
        raise ConfigError(f"{where}={value} is not allowed: give {least} to {most}")
    if name == "times":
        if len(value) > _MOST_TIMES:
            raise ConfigError(f"{where} has {len(value)} entries: give at most {_MOST_TIMES}")
        check_times(value)
    if name == "loss_function":
        check_loss(value)
    if name == "dataset" and (value.startswith("tfds:") or data.by_name(value).name not in data.names()):
        raise DataError(f"{where}={value!r} is not allowed in the cloud: give one of {', '.join(data.names())}")


def check_chips(model: nnx.Module, times: list[float]) -> None:
    """Refuse a model that is not programmed onto chips, or whose noise models don't know the times.

    Args:
        model: The model; its numbers may be abstract.
        times: Seconds after programming.

    Raises:
        ArchiveError: If it is one.
    """
    with at("model"):
        for path, tile in tiles_of(model).items():
            noise_model = checked_config(tile.config.get_value(), path).noise_model
            for t in times:
                _check_time(noise_model, t)


def _check_time(noise_model: Any, t: float) -> None:
    try:
        noise_model.check_time(t)
    except AihwjaxError:
        raise
    except (TypeError, ValueError, jax.errors.JAXTypeError):  # of numbers that are not known yet: the job says it
        return


def experiment_of(model: nnx.Module, found: Mapping[str, Any]) -> BasicInferencing:
    """Return the experiment of a section that was checked.

    Args:
        model: The model.
        found: From :func:`settings`.

    Raises:
        ArchiveError: If a value is not allowed.
    """
    with at(_SECTION):
        return BasicInferencing(
            model=model, **{name: value for name, value in found.items() if name not in _NOT_FIELDS}
        )
