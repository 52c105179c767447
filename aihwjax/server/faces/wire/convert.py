"""What the messages mean here: a training as an experiment document, metrics as a training's output.

The wire protocol follows PyTorch: data are NCHW, as they are in aihwjax's data sets, and names and arguments
of layers are PyTorch's. Weights don't travel; they are drawn from the document's key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from aihwjax.errors import AihwjaxError, nearest
from aihwjax.server.faces.wire import messages
from aihwjax.server.faces.wire.messages import MessageError, TrainingInput, TrainingOutput

Document: TypeAlias = dict[str, Any]
"""JSON values."""
Presets: TypeAlias = Mapping[str, Document]
"""Configuration documents by the name of their preset."""

METRICS = ("accuracy", "train_loss", "valid_loss")
"""Metrics of an epoch on the wire, under the names that they have here."""

_FORMAT = "aihwjax experiment, version 1"
_DATASETS = ("fashion_mnist", "svhn")
_LOSSES = ("BCELoss", "CrossEntropyLoss", "MSELoss", "NLLLoss")
_DEFAULT_BATCH_SIZE = 64
_DEFAULT_EPOCHS = 30


class RefusedError(AihwjaxError):
    """A payload is well-formed, or should be, but asks for something that this server does not have."""


class _Layer(NamedTuple):
    """How one layer of the wire is built here."""

    arguments: Mapping[str, type]
    """Its arguments and their types; the message must have all of them and no others."""
    build: Callable[[Document, Presets], Document]
    """From the arguments to the entry of the document."""
    optional: tuple[str, ...] = ()
    """Arguments that may be missing."""


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
        _check_version(message.version)
        return {
            "format": _FORMAT,
            "kind": "BasicTraining",
            "experiment": {
                **_dataset(message.dataset),
                **_training(message.training),
                "key": key,
                "max_elements_train": 0,
            },
            "model": {"class": "AnalogSequential", "layers": _layers(message.network, presets)},
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
    return [_named(entry).id for entry in message.network.layers if entry.WhichOneof("item")]


# ----------------------------------------------------------------------------- parts of the payload
def _check_version(version: Any) -> None:
    if (version.schema, version.opset) != (messages.SCHEMA, messages.OPSET):
        raise RefusedError(f"version {version.schema}.{version.opset} of the payload is not supported: give 1.1")


def _dataset(dataset: Any) -> Document:
    if dataset.dataset_id not in _DATASETS:
        raise RefusedError(f"the dataset {_short(dataset.dataset_id)} is not supported: give {_either(_DATASETS)}")
    if dataset.transforms:
        raise RefusedError(f"the transform {_short(dataset.transforms[0].id)} of the dataset is not supported")
    size = dataset.batch_size if dataset.HasField("batch_size") else _DEFAULT_BATCH_SIZE
    return {"dataset": dataset.dataset_id, "batch_size": _at_least("the batch size", size, 1)}


def _training(training: Any) -> Document:
    if training.HasField("scheduler"):
        raise RefusedError(f"the scheduler {_short(training.scheduler.id)} is not supported: leave it out")
    loss = training.loss_function.id if training.HasField("loss_function") else "NLLLoss"
    if loss not in _LOSSES:
        raise RefusedError(f"the loss function {_short(loss)} is not supported: give {_either(_LOSSES)}")
    if training.HasField("loss_function") and training.loss_function.arguments:
        raise RefusedError(f"the loss function {loss} has arguments: they are not supported")
    epochs = training.epochs if training.HasField("epochs") else _DEFAULT_EPOCHS
    return {
        "loss_function": loss,
        "epochs": _at_least("the number of epochs", epochs, 0),
        "learning_rate": _learning_rate(training.optimizer),
    }


def _learning_rate(optimizer: Any) -> float:
    if optimizer.id != "AnalogSGD":
        raise RefusedError(f"the optimizer {_short(optimizer.id)} is not supported: give AnalogSGD")
    values = messages.argument_values(optimizer)
    if set(values) != {"lr"} or not isinstance(values["lr"], float):
        raise RefusedError("the optimizer AnalogSGD needs the argument lr and no other")
    if not math.isfinite(values["lr"]) or values["lr"] < 0:
        raise RefusedError(f"the learning rate {values['lr']:g} is not allowed: give a finite number of at least 0")
    return _shortest(values["lr"])


def _layers(network: Any, presets: Presets) -> list[Document]:
    if not network.layers:
        raise RefusedError("the network has no layers: give at least one")
    unknown = []
    for number, entry in enumerate(network.layers):
        if entry.WhichOneof("item") is None:
            raise RefusedError(f"layer {number} is neither a layer nor an activation function")
        if _named(entry).id not in _LAYERS:
            unknown.append(f"layer {number} {_short(_named(entry).id)}")
    if unknown:
        raise RefusedError(f"{_and(unknown)} {'is' if len(unknown) == 1 else 'are'} not supported")
    return [_layer(number, _named(entry), presets) for number, entry in enumerate(network.layers)]


def _layer(number: int, message: Any, presets: Presets) -> Document:
    where = f"layer {number} {message.id}"
    rule = _LAYERS[message.id]
    if getattr(message, "state_dict", None):
        raise RefusedError(f"{where} has weights: they are not supported, leave state_dict empty")
    values = messages.argument_values(message)
    for name, value in values.items():
        if name not in rule.arguments:
            raise RefusedError(f"{where} has no argument {_short(name)}{nearest(name, rule.arguments)}")
        if type(value) is not rule.arguments[name]:
            raise RefusedError(f"{where} has {name} {_short(value)}: give {_KINDS[rule.arguments[name]]}")
    for name in rule.arguments:
        if name not in values and name not in rule.optional:
            raise RefusedError(f"{where} needs the argument {name}")
    try:
        return rule.build(values, presets)
    except RefusedError as error:
        raise RefusedError(f"{where} {error}") from None


# ----------------------------------------------------------------------------- layers
def _analog_linear(values: Document, presets: Presets) -> Document:
    name = values["rpu_config"]
    if name not in presets:
        raise RefusedError(f"has the unknown preset {_short(name)}{nearest(name, presets)}")
    config = dict(presets[name])
    if "weight_scaling_omega" in values:
        omega = _shortest(values["weight_scaling_omega"])
        if not math.isfinite(omega) or omega < 0:
            raise RefusedError(f"has weight_scaling_omega {omega:g}: give a finite number of at least 0")
        config["mapping"] = {**config["mapping"], "weight_scaling_omega": omega}
    return {"class": "AnalogLinear", **_features(values), "bias": values["bias"], "config": config}


def _linear(values: Document, presets: Presets) -> Document:
    return {"class": "Linear", **_features(values), "use_bias": values["bias"]}


def _batch_norm(values: Document, presets: Presets) -> Document:
    count = _at_least("num_features", values["num_features"], 1)
    return {"class": "BatchNorm", "num_features": count, "axis": 1, "momentum": 0.9}  # PyTorch's momentum is 1 - 0.9


def _features(values: Document) -> Document:
    return {name: _at_least(name, values[name], 1) for name in ("in_features", "out_features")}


def _plain(name: str, **arguments: type) -> _Layer:
    """A layer with the same name and arguments here."""

    def build(values: Document, presets: Presets) -> Document:
        for value in values.values():
            if isinstance(value, float) and not math.isfinite(value):
                raise RefusedError(f"has an argument {value:g}: give a finite number")
        numbers = {key: _shortest(value) if isinstance(value, float) else value for key, value in values.items()}
        return {"class": name, **numbers}

    return _Layer(arguments, build)


_SIZES = {"in_features": int, "out_features": int, "bias": bool}
_LAYERS: Mapping[str, _Layer] = {
    "AnalogLinear": _Layer(
        {**_SIZES, "rpu_config": str, "weight_scaling_omega": float}, _analog_linear, ("weight_scaling_omega",)
    ),
    "Linear": _Layer(_SIZES, _linear),
    "BatchNorm2d": _Layer({"num_features": int}, _batch_norm),
    "Flatten": _plain("Flatten"),
    "LeakyReLU": _plain("LeakyReLU", negative_slope=float),
    "LogSigmoid": _plain("LogSigmoid"),
    "LogSoftmax": _plain("LogSoftmax", dim=int),
    "ReLU": _plain("ReLU"),
    "Sigmoid": _plain("Sigmoid"),
    "Softmax": _plain("Softmax", dim=int),
    "Tanh": _plain("Tanh"),
}


# ----------------------------------------------------------------------------- words
_KINDS = {int: "a whole number", bool: "true or false", str: "text", float: "a number"}


def _named(entry: Any) -> Any:
    return getattr(entry, entry.WhichOneof("item"))


def _at_least(what: str, value: int, minimum: int) -> int:
    if value < minimum:
        raise RefusedError(f"{what} {value} is not allowed: give at least {minimum}")
    return value


def _shortest(value: float) -> float:
    """Return the shortest decimal number that is the same float of 32 bits: 0.05, not 0.05000000074505806."""
    return float(str(np.float32(value)))


def _short(value: object) -> str:
    text = " ".join(str(value).split()) or "''"
    return text if len(text) <= 40 else text[:37] + "..."


def _and(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _either(items: Iterable[str]) -> str:
    *others, last = items
    return f"{', '.join(others)} or {last}"
