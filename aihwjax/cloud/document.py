"""The experiment document: an experiment as JSON, and back.

.. code-block:: json

    {
      "format": "aihwjax experiment, version 1",
      "kind": "BasicTraining",
      "experiment": {"dataset": "mnist10k", "epochs": 5, "learning_rate": 0.1, "key": 0},
      "model": {"class": "AnalogSequential", "layers": []},
      "parameters": null
    }

A document names things and never contains code. That of a sweep has a :mod:`section
<aihwjax.cloud.sweep_section>` more. ``parameters`` is the digest of the numbers that
travel beside it, or ``null``: then the initial weights are drawn from the key. A result has
``metrics`` as well. What another program wrote is checked entry by entry before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from aihwjax import arguments
from aihwjax.cloud import abstract, inference, sweep_section
from aihwjax.cloud.keys import key_entry, run_key
from aihwjax.cloud.plain import at, check_finite, dumps, loads, short
from aihwjax.cloud.results import check_results, metrics
from aihwjax.cloud.section import check_fit, check_model, settings
from aihwjax.cloud.sendable import (
    check_sendable,
    dataset_name,
    learning_rate,
    loss_entry,
    metric_names,
    optimizer_entry,
    weights_entry,
)
from aihwjax.cloud.sweep_section import Swept
from aihwjax.errors import ArchiveError, ConfigError
from aihwjax.experiments.architecture import from_document as model_from_document
from aihwjax.experiments.architecture import to_document as model_to_document
from aihwjax.experiments.arrays import ArraySpec
from aihwjax.experiments.best import Extreme, wanted_goal
from aihwjax.experiments.entries import check_names
from aihwjax.experiments.inferencing import BasicInferencing
from aihwjax.experiments.shapes import prediction
from aihwjax.experiments.training import BasicTraining
from aihwjax.optim.named import from_entry
from aihwjax.typing import Key

__all__ = [
    "FORMAT",
    "KIND",
    "Described",
    "Facts",
    "built",
    "check",
    "dumps",
    "facts",
    "from_document",
    "loads",
    "metrics",
    "size",
    "to_document",
]

FORMAT = "aihwjax experiment, version 1"
KIND = BasicTraining.__name__
_KINDS = (KIND, inference.KIND, sweep_section.KIND)
_ENTRIES = ("format", "kind", "experiment", "model", "sweep", "parameters", "metrics", "best")
_NOT_TRAINING = ("key", "max_elements_train", "keep_best", "best")
"""Entries of the section ``experiment`` that are no fields of a training."""


class Described(NamedTuple):
    """What a document describes."""

    experiment: BasicTraining | BasicInferencing
    """The experiment."""
    key: Key | int
    """Key of the run, as for :func:`aihwjax.fit` or :func:`aihwjax.run_local_inference`."""
    max_elements_train: int
    """If above 0, only so many examples of each split."""
    document: dict[str, Any]
    """The document."""
    keep_best: str | None = None
    """Name of the metric by which the model of the best epoch is kept."""
    best: Extreme | None = None
    """Which of its values is the best; ``None``: as the name says."""
    sweep: Swept | None = None
    """How the experiment is varied; ``None``: it is not."""


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
    sweep: Swept | None = None
    """How the experiment is varied; ``None``: it is not."""


@arguments.answered
def to_document(
    experiment: BasicTraining | BasicInferencing,
    key: Key | int = 0,
    max_elements_train: int = 0,
    keep_best: str | None = None,
    best: Extreme | None = None,
) -> dict[str, Any]:
    """Return the document of an experiment, with ``parameters`` null.

    Args:
        experiment: The experiment.
        key: Whole number or JAX key of the run.
        max_elements_train: If above 0, only so many examples of each split.
        keep_best: Name of a metric, by which the model of the best epoch is kept.
        best: Whether the smallest or the largest value is the best; ``None``: as the name says.

    Raises:
        ConfigError: If the loss, a learning rate, the optimizer or a metric is a function, the key is none, or
            ``keep_best`` no metric of the run.
        DataError: If the data set has no name of its own.
        ModuleError: If a layer is not one of the library's, or has arguments that are no plain values.
    """
    if type(experiment) is BasicInferencing:
        return _inference_document(experiment, key, max_elements_train, keep_best, best)
    if type(experiment) is not BasicTraining:
        kind = type(experiment).__name__
        raise ConfigError(f"experiment={kind} is not allowed in the cloud: give a BasicTraining or BasicInferencing")
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
            **optimizer_entry(experiment.optimizer),
            **({} if experiment.class_weights is None else {"class_weights": weights_entry(experiment.class_weights)}),
            **({"accumulate": int(experiment.accumulate)} if experiment.accumulate != 1 else {}),
            "key": key_entry(key),
            "max_elements_train": _count(max_elements_train),
            **_goal_entries(experiment, keep_best, best),
        },
        "model": model_to_document(experiment.model),
        "parameters": None,
    }
    dumps(document)  # what has no JSON is the user's to know now
    return document


def _inference_document(
    experiment: BasicInferencing, key: Key | int, max_elements: int, keep_best: str | None, best: Extreme | None
) -> dict[str, Any]:
    if keep_best is not None or best is not None:
        raise ConfigError("keep_best is not allowed for an inference experiment: it has no epochs")
    document = {
        "format": FORMAT,
        "kind": inference.KIND,
        "experiment": inference.section_of(experiment, key, max_elements),
        "model": model_to_document(experiment.model),
        "parameters": None,
    }
    dumps(document)
    return document


@arguments.answered
def from_document(document: Mapping[str, Any]) -> Described:
    """Return the experiment of a document, its model with the weights that its key gives.

    Args:
        document: From :func:`to_document`, or anything.

    Raises:
        ArchiveError: If an entry is missing, unknown or not allowed; has its path.
    """
    return built(document, facts(document))


@arguments.answered
def built(document: Mapping[str, Any], known: Facts) -> Described:
    """Return the experiment of a document that was checked.

    Args:
        document: The document.
        known: From :func:`facts` of it.
    """
    model = model_from_document(document["model"], nnx.Rngs(known.key))
    given = known.settings
    if document["kind"] == inference.KIND:
        made = inference.experiment_of(model, given)
        return Described(made, known.key, given["max_elements"], dict(document))
    kept: tuple[Any, Any] = given.get("keep_best"), given.get("best")
    experiment = _training(model, given)
    return Described(experiment, known.key, given["max_elements_train"], dict(document), *kept, known.sweep)


def _training(model: nnx.Module, given: Mapping[str, Any]) -> BasicTraining:
    """Return the training of a section that was checked."""
    with at("experiment"):
        fields = {name: value for name, value in given.items() if name not in _NOT_TRAINING}
        if "optimizer" in fields:
            fields["optimizer"] = from_entry(fields["optimizer"])
        return BasicTraining(model=model, **fields)


@arguments.answered
def check(document: Mapping[str, Any]) -> None:
    """Refuse a document that does not describe an experiment.

    Args:
        document: Anything.

    Raises:
        ArchiveError: If an entry is missing, unknown or not allowed; has its path.
    """
    facts(document)


@arguments.answered
def size(document: Mapping[str, Any]) -> int:
    """Return the bytes of the model's numbers; nothing of that size is allocated.

    Args:
        document: Anything.

    Raises:
        ArchiveError: As :func:`check`.
    """
    return facts(document).size


@arguments.answered
def facts(document: Mapping[str, Any]) -> Facts:
    """Check a document and return what is known of it.

    Args:
        document: Anything.

    Raises:
        ArchiveError: As :func:`check`.
    """
    _check_top(document)
    chips = document["kind"] == inference.KIND
    found = (inference.settings if chips else settings)(document["experiment"])
    key = run_key(found["key"])
    check_results(document)
    model = abstract.build(document["model"], key)
    arrays = abstract.specs(model)
    if chips:
        check_model(model, found)
        inference.check_chips(model, found["times"])
    else:
        check_fit(model, found)
    swept = _swept(document, found, key) if document["kind"] == sweep_section.KIND else None
    return Facts(found, key, arrays, abstract.size(arrays), swept)


def _swept(document: Mapping[str, Any], given: Mapping[str, Any], key: Key | int) -> Swept:
    """Return what varies the experiment, checked against it."""
    found = sweep_section.read(document.get("sweep"))

    def make() -> BasicTraining:
        return _training(model_from_document(document["model"], nnx.Rngs(key)), given)

    sweep_section.check(found, document["sweep"]["points"], given, make)
    return found


def _check_top(document: Mapping[str, Any]) -> None:
    if not isinstance(document, Mapping):
        raise ArchiveError(f"the document is a {type(document).__name__}: give an object")
    check_finite(document)
    with at(None):
        check_names(document, _ENTRIES, "the document")
    for name, wanted in (("format", (FORMAT,)), ("kind", _KINDS)):
        if document.get(name) not in wanted:
            allowed = " or ".join(map(repr, wanted))
            raise ArchiveError(f"{name}={short(document.get(name))} is not allowed: give {allowed}", name)
    if "sweep" in document and document["kind"] != sweep_section.KIND:
        raise ArchiveError(f"sweep is not allowed in a {document['kind']}: give kind {sweep_section.KIND!r}", "sweep")
    for name in ("experiment", "model"):
        if not isinstance(document.get(name), Mapping):
            raise ArchiveError(f"{name} is missing: give a table", name)


def _goal_entries(experiment: BasicTraining, keep_best: str | None, best: Extreme | None) -> dict[str, Any]:
    """Return the entries that say which epoch is kept, if the run can tell."""
    if keep_best is None and best is None:
        return {}
    dataset: Any = experiment.dataset
    output = prediction(experiment.model, jax.ShapeDtypeStruct((2, *dataset.shape), np.float32))
    wanted_goal(keep_best, best, metric_names(experiment.model, output))
    return {"keep_best": keep_best} | ({} if best is None else {"best": best})


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ConfigError(f"max_elements_train={value!r} is not allowed: give a whole number from 0")
    return int(value)
