"""The experiment document: a training experiment as JSON, and back.

.. code-block:: json

    {
      "format": "aihwjax experiment, version 1",
      "kind": "BasicTraining",
      "experiment": {"dataset": "mnist10k", "epochs": 5, "learning_rate": 0.1, "key": 0},
      "model": {"class": "AnalogSequential", "layers": []},
      "parameters": null
    }

A document names things and never contains code. ``parameters`` is the digest of the numbers that
travel beside it, or ``null``: then the initial weights are drawn from the key. A result has
``metrics`` as well. What another program wrote is checked entry by entry before anything is built.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from aihwjax.cloud import abstract
from aihwjax.cloud.keys import key_entry, run_key
from aihwjax.cloud.sendable import check_sendable, dataset_name, learning_rate, loss_entry
from aihwjax.config import LARGEST
from aihwjax.errors import AihwjaxError, ArchiveError, ConfigError, DataError
from aihwjax.experiments import data
from aihwjax.experiments.architecture import from_document as model_from_document
from aihwjax.experiments.architecture import to_document as model_to_document
from aihwjax.experiments.arrays import ArraySpec
from aihwjax.experiments.entries import SETTINGS, check_names, check_settings
from aihwjax.experiments.losses import check_loss
from aihwjax.experiments.metrics import EpochMetrics
from aihwjax.experiments.shapes import check_loss_fits, prediction
from aihwjax.experiments.training import BasicTraining
from aihwjax.scores import STANDARD
from aihwjax.typing import Key

FORMAT = "aihwjax experiment, version 1"
KIND = BasicTraining.__name__
_ENTRIES = ("format", "kind", "experiment", "model", "parameters", "metrics")
_MOST_DEPTH = 64
_BOUNDS = {
    "batch_size": (1, 1_000_000),
    "epochs": (0, 2**31 - 1),
    "accumulate": (1, 1_000_000),
    "max_elements_train": (0, 2**31 - 1),
}
_LARGEST_SINGLE = float(np.finfo(np.float32).max)
"""Above it a number is infinite in single precision."""
_METRICS = tuple(name for name in STANDARD if name != "accuracy")  # of a regression there is none


class Described(NamedTuple):
    """What a document describes."""

    experiment: BasicTraining
    """The experiment."""
    key: Key | int
    """Key of the run, as for :func:`aihwjax.fit`."""
    max_elements_train: int
    """If above 0, only so many examples of each split."""
    document: dict[str, Any]
    """The document."""


class Facts(NamedTuple):
    """What is known of a document without building its model."""

    settings: dict[str, Any]
    """The section ``experiment``, defaults filled in."""
    key: Key | int
    """Key of the run."""
    arrays: dict[str, ArraySpec]
    """Shape and type of each array of the model."""
    size: int
    """Bytes of them."""


def to_document(experiment: BasicTraining, key: Key | int = 0, max_elements_train: int = 0) -> dict[str, Any]:
    """Return the document of an experiment, with ``parameters`` null.

    Args:
        experiment: The experiment.
        key: Whole number or JAX key of the run.
        max_elements_train: If above 0, only so many examples of each split.

    Raises:
        ConfigError: If the loss, learning rate, optimizer or a metric is a function, or the key is none.
        DataError: If the data set has no name of its own.
        ModuleError: If a layer is not one of the library's, or has arguments that are no plain values.
    """
    if type(experiment) is not BasicTraining:
        raise ConfigError(f"experiment={type(experiment).__name__} is not allowed in the cloud: give a BasicTraining")
    if experiment.optimizer is not None:
        raise ConfigError("optimizer is not allowed in the cloud: give None, or train locally with aihwjax.fit")
    if experiment.metrics:
        names = ", ".join(map(repr, experiment.metrics))
        raise ConfigError(
            f"metrics ({names}) are functions of your own, which cannot travel to the cloud: leave them out, "
            "or train locally with aihwjax.fit"
        )
    check_sendable(experiment)
    document = {
        "format": FORMAT,
        "kind": KIND,
        "experiment": {
            "dataset": dataset_name(experiment.dataset),
            "batch_size": int(experiment.batch_size),
            "loss_function": loss_entry(experiment.loss_function),
            "epochs": int(experiment.epochs),
            "learning_rate": learning_rate(experiment.learning_rate),
            **({"accumulate": int(experiment.accumulate)} if experiment.accumulate != 1 else {}),
            "key": key_entry(key),
            "max_elements_train": _count(max_elements_train),
        },
        "model": model_to_document(experiment.model),
        "parameters": None,
    }
    dumps(document)  # what has no JSON is the user's to know now
    return document


def from_document(document: Mapping[str, Any]) -> Described:
    """Return the experiment of a document, its model with the weights that its key gives.

    Args:
        document: From :func:`to_document`, or anything.

    Raises:
        ArchiveError: If an entry is missing, unknown or not allowed; has its path.
    """
    return built(document, facts(document))


def built(document: Mapping[str, Any], known: Facts) -> Described:
    """Return the experiment of a document that was checked.

    Args:
        document: The document.
        known: From :func:`facts` of it.
    """
    model = model_from_document(document["model"], nnx.Rngs(known.key))
    fields = {name: value for name, value in known.settings.items() if name not in ("key", "max_elements_train")}
    with _at("experiment"):
        experiment = BasicTraining(model=model, **fields)
    return Described(experiment, known.key, known.settings["max_elements_train"], dict(document))


def check(document: Mapping[str, Any]) -> None:
    """Refuse a document that does not describe an experiment.

    Args:
        document: Anything.

    Raises:
        ArchiveError: If an entry is missing, unknown or not allowed; has its path.
    """
    facts(document)


def size(document: Mapping[str, Any]) -> int:
    """Return the bytes of the model's numbers; nothing of that size is allocated.

    Args:
        document: Anything.

    Raises:
        ArchiveError: As :func:`check`.
    """
    return facts(document).size


def facts(document: Mapping[str, Any]) -> Facts:
    """Check a document and return what is known of it.

    Args:
        document: Anything.

    Raises:
        ArchiveError: As :func:`check`.
    """
    _check_top(document)
    settings = _settings(document["experiment"])
    key = run_key(settings["key"])
    _check_digest(document.get("parameters"))
    if "metrics" in document:
        metrics(document)
    model = abstract.build(document["model"], key)
    arrays = abstract.specs(model)
    _check_fit(model, settings)
    return Facts(settings, key, arrays, abstract.size(arrays))


def metrics(document: Mapping[str, Any]) -> list[EpochMetrics]:
    """Return the metrics of a result; a number that was not finite is NaN.

    Args:
        document: With the entry ``metrics``.

    Raises:
        ArchiveError: If they are none.
    """
    entries = document.get("metrics")
    if not isinstance(entries, list):
        raise ArchiveError("metrics is missing: the document is no result", "metrics")
    return [_metrics(entry, f"metrics[{i}]") for i, entry in enumerate(entries)]


def dumps(document: Mapping[str, Any]) -> str:
    """Return a document as JSON text.

    Raises:
        ConfigError: If a number in it is NaN or infinite.
    """
    try:
        return json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        where = next((path for path, value in _leaves(document, "") if not _finite(value)), "a number")
        raise ConfigError(f"{where} is NaN or infinite, which is not allowed in the cloud: give a finite one") from None


def loads(text: str | bytes) -> dict[str, Any]:
    """Return the document of JSON text, unchecked but for being JSON.

    Raises:
        ArchiveError: If it is no JSON object, or has NaN or infinity; then it has the path of that number.
    """
    try:
        document = json.loads(text)  # Python's reader takes NaN and Infinity, and 1e999 is infinite
    except RecursionError:
        raise ArchiveError("the document is too deep") from None
    except ValueError as error:  # also of text that is not UTF-8
        raise ArchiveError(f"the document is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise ArchiveError(f"the document is a {type(document).__name__}: give an object")
    _check_finite(document)
    return document


# --------------------------------------------------------------------------- checks
def _check_top(document: Mapping[str, Any]) -> None:
    if not isinstance(document, Mapping):
        raise ArchiveError(f"the document is a {type(document).__name__}: give an object")
    _check_finite(document)
    with _at(None):
        check_names(document, _ENTRIES, "the document")
    for name, wanted in (("format", FORMAT), ("kind", KIND)):
        if document.get(name) != wanted:
            raise ArchiveError(f"{name}={_short(document.get(name))} is not allowed: give {wanted!r}", name)
    for name in ("experiment", "model"):
        if not isinstance(document.get(name), Mapping):
            raise ArchiveError(f"{name} is missing: give a table", name)


def _check_finite(document: Mapping[str, Any]) -> None:
    for path, value in _leaves(document, ""):
        # metrics are only told, all else is computed with
        single = path.startswith("metrics") or not isinstance(value, float) or abs(value) <= _LARGEST_SINGLE
        if not (_finite(value) and single):
            raise ArchiveError(f"{path} is NaN, infinite or too large: give a finite number", path)


def _settings(entries: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"batch_size": 64, "loss_function": "NLLLoss", "epochs": 30, "learning_rate": 0.05}
    with _at("experiment"):
        check_names(entries, [name for name in SETTINGS if name != "validate_every"], "experiment")
    if "dataset" not in entries:
        raise ArchiveError("experiment.dataset is missing: give the name of a data set", "experiment.dataset")
    for name, value in entries.items():
        if name == "key":
            continue
        with _at(f"experiment.{name}"):
            check_settings({name: value})
            if name in _BOUNDS and not _BOUNDS[name][0] <= value <= _BOUNDS[name][1]:
                least, most = _BOUNDS[name]
                raise ConfigError(f"experiment.{name}={value} is not allowed: give {least} to {most}")
            if name == "learning_rate" and not 0 <= value <= LARGEST:  # as in training
                raise ConfigError(f"experiment.{name}={value} is not allowed: give 0 to {LARGEST:g}")
            if name == "loss_function":
                check_loss(value)
            if name == "dataset" and data.by_name(_catalogued(value)).name not in data.names():
                raise DataError(f"experiment.dataset={value!r} is not known")
    return {**defaults, "key": 0, "max_elements_train": 0, **entries}


def _catalogued(name: str) -> str:
    if name.startswith("tfds:"):
        raise DataError(f"dataset={name!r} is not allowed in the cloud: give one of {', '.join(data.names())}")
    return name


def _check_digest(parameters: Any) -> None:
    if parameters is None:
        return
    digest = parameters.get("digest") if isinstance(parameters, Mapping) else None
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{32}", digest) or len(parameters) != 1:
        text = "give null or a table with the digest of 32 hexadecimal digits"
        raise ArchiveError(f"parameters={_short(parameters)} is not allowed: {text}", "parameters")


def _check_fit(model: nnx.Module, settings: Mapping[str, Any]) -> None:
    """Apply the model to two examples of the data set, abstractly."""
    dataset = data.by_name(settings["dataset"])
    try:
        output = prediction(model, jax.ShapeDtypeStruct((2, *dataset.shape), np.float32))
        if dataset.classes is not None and output.shape[1] < dataset.classes:
            raise DataError(f"the model has {output.shape[1]} outputs: {dataset.name} needs {dataset.classes}")
        check_loss_fits(settings["loss_function"], output, jax.ShapeDtypeStruct((2,), np.int32))
    except AihwjaxError as error:
        match = re.match(r"layers/(\d+)", str(error))
        raise ArchiveError(str(error), f"model[{match[1]}]" if match else "model") from None
    except Exception as error:  # layers of other libraries say it in their own way
        raise ArchiveError(f"the model does not fit {dataset.name}: {error}", "model") from None


def _metrics(entry: Any, path: str) -> EpochMetrics:
    known = isinstance(entry, Mapping) and isinstance(entry.get("epoch"), int) and set(entry) >= set(_METRICS)
    if not known or not all(isinstance(name, str) and name for name in entry):
        raise ArchiveError(f"{path} is not allowed: give {', '.join(STANDARD)}", path)
    for name, value in entry.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ArchiveError(f"{path}.{name}={_short(value)} is not allowed: give a number or null", f"{path}.{name}")
    numbers = {name: math.nan if value is None else float(value) for name, value in entry.items() if name != "epoch"}
    return EpochMetrics(epoch=entry["epoch"], **numbers)  # type: ignore[typeddict-item]


def _leaves(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the plain values of a document with their paths.

    Raises:
        ArchiveError: If it is too deep, or has values that JSON has not.
    """
    if depth > _MOST_DEPTH:
        raise ArchiveError(f"{path[:100]} is too deep: give at most {_MOST_DEPTH} levels", path[:100])
    if isinstance(value, Mapping):
        for name, entry in value.items():
            if not isinstance(name, str):
                raise ArchiveError(f"{path} has an entry {_short(name)}: give names that are text", path)
            yield from _leaves(entry, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list | tuple):
        for i, entry in enumerate(value):
            yield from _leaves(entry, f"{path}[{i}]", depth + 1)
    elif value is None or isinstance(value, bool | int | float | str):
        yield path, value
    else:
        raise ArchiveError(f"{path} is a {type(value).__name__}: give a plain value", path)


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ConfigError(f"max_elements_train={value!r} is not allowed: give a whole number from 0")
    return int(value)


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


@contextlib.contextmanager
def _at(field: str | None) -> Iterator[None]:
    """Give the errors of the library the path of the entry."""
    try:
        yield
    except ArchiveError:
        raise
    except AihwjaxError as error:
        raise ArchiveError(str(error), field) from None
