"""What the messages mean here: a training as an experiment document, metrics as a training's output.

Weights don't travel; they are drawn from the document's key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from aihwjax.server.faces.wire import messages, network
from aihwjax.server.faces.wire.layers import Document, Presets, RefusedError, at_least, short, shortest
from aihwjax.server.faces.wire.messages import MessageError, TrainingInput, TrainingOutput

__all__ = [
    "METRICS",
    "Document",
    "Presets",
    "RefusedError",
    "experiment_document",
    "in_its_numbers",
    "layer_names",
    "training_output",
]

METRICS = ("accuracy", "train_loss", "valid_loss")
"""Metrics of an epoch on the wire, under the names that they have here."""

FORMAT = "aihwjax experiment, version 1"
"""Of the documents."""
DATASETS = ("fashion_mnist", "svhn")
"""Data sets that a payload may name."""
_LOSSES = ("BCELoss", "CrossEntropyLoss", "MSELoss", "NLLLoss")
_DEFAULT_BATCH_SIZE = 64
_DEFAULT_EPOCHS = 30


def experiment_document(payload: bytes, key: int, presets: Presets) -> Document:
    """Return the experiment document that a training's payload describes.

    Args:
        payload: Bytes of a ``TrainingInput``.
        key: Seed of the run and of its initial weights: a payload has none.
        presets: Configuration documents of the presets.

    Raises:
        RefusedError: If the payload is damaged or incomplete, or has a layer, preset, data set, loss or value
            that is not supported; it names all unsupported layers at once.
    """
    try:
        message: Any = messages.parse(TrainingInput, payload)
        check_version(message.version)
        return {
            "format": FORMAT,
            "kind": "BasicTraining",
            "experiment": {
                **_dataset(message.dataset),
                **_training(message.training),
                "key": key,
                "max_elements_train": 0,
            },
            "model": {"class": "AnalogSequential", "layers": network.layers_of(message.network.layers, presets)},
            "parameters": None,
        }
    except MessageError as error:
        raise RefusedError(str(error)) from None


def training_output(payload: bytes | None, metrics: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the bytes of a ``TrainingOutput``.

    Args:
        payload: The training's input, whose network the output repeats; ``None``: it has none.
        metrics: The epochs' metrics, each with ``epoch``; a value of ``None`` is not a finite number.
    """
    output: Any = TrainingOutput()
    output.version.schema, output.version.opset = messages.SCHEMA, messages.OPSET
    output.network.SetInParent()
    if payload is not None:
        source: Any = messages.parse(TrainingInput, payload)
        output.network.CopyFrom(source.network)
    for entry in metrics:
        epoch = output.epochs.add(epoch=int(entry["epoch"]))
        for name in METRICS:
            if name in entry:
                value = entry[name]
                epoch.metrics.append(messages.attribute(name, math.nan if value is None else float(value)))
    return output.SerializeToString()


def layer_names(payload: bytes) -> list[str]:
    """Return the names of the layers and activations of a training's payload, in order.

    Raises:
        RefusedError: If the payload is no ``TrainingInput``.
    """
    try:
        message: Any = messages.parse(TrainingInput, payload)
    except MessageError as error:
        raise RefusedError(str(error)) from None
    return [network.named(entry).id for entry in message.network.layers if entry.WhichOneof("item")]


def in_its_numbers(text: str, payload: bytes) -> str:
    """Return an error about the model of a payload, with the positions that the layers have in the payload.

    Args:
        text: The error.
        payload: Bytes of a ``TrainingInput``.
    """
    message: Any = messages.parse(TrainingInput, payload)
    return network.in_its_numbers(text, message.network.layers)


# ----------------------------------------------------------------------------- parts of the payload
def check_version(version: Any) -> None:
    """Refuse a payload of another version.

    Raises:
        RefusedError: If it is one.
    """
    if (version.schema, version.opset) != (messages.SCHEMA, messages.OPSET):
        raise RefusedError(f"version {version.schema}.{version.opset} of the payload is not supported: give 1.1")


def _dataset(dataset: Any) -> Document:
    if dataset.dataset_id not in DATASETS:
        raise RefusedError(f"the dataset {short(dataset.dataset_id)} is not supported: give {either(DATASETS)}")
    if dataset.transforms:
        raise RefusedError(f"the transform {short(dataset.transforms[0].id)} of the dataset is not supported")
    size = dataset.batch_size if dataset.HasField("batch_size") else _DEFAULT_BATCH_SIZE
    return {"dataset": dataset.dataset_id, "batch_size": at_least("the batch size", size, 1)}


def _training(training: Any) -> Document:
    if training.HasField("scheduler"):
        raise RefusedError(f"the scheduler {short(training.scheduler.id)} is not supported: leave it out")
    loss = training.loss_function.id if training.HasField("loss_function") else "NLLLoss"
    if loss not in _LOSSES:
        raise RefusedError(f"the loss function {short(loss)} is not supported: give {either(_LOSSES)}")
    if training.HasField("loss_function") and training.loss_function.arguments:
        raise RefusedError(f"the loss function {loss} has arguments: they are not supported")
    epochs = training.epochs if training.HasField("epochs") else _DEFAULT_EPOCHS
    return {
        "loss_function": loss,
        "epochs": at_least("the number of epochs", epochs, 0),
        "learning_rate": _learning_rate(training.optimizer),
    }


def _learning_rate(optimizer: Any) -> float:
    if optimizer.id != "AnalogSGD":
        raise RefusedError(f"the optimizer {short(optimizer.id)} is not supported: give AnalogSGD")
    values = messages.argument_values(optimizer)
    if set(values) != {"lr"} or not isinstance(values["lr"], float):
        raise RefusedError("the optimizer AnalogSGD needs the argument lr and no other")
    if not math.isfinite(values["lr"]) or values["lr"] < 0:
        raise RefusedError(f"the learning rate {values['lr']:g} is not allowed: give a finite number of at least 0")
    return shortest(values["lr"])


# ----------------------------------------------------------------------------- words
def either(items: Iterable[str]) -> str:
    """Return words as alternatives."""
    *others, last = items
    return f"{', '.join(others)} or {last}"
