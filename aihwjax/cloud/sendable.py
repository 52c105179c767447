"""What of an experiment can travel: names, not functions or arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from aihwjax import showing
from aihwjax.devices import counts
from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments import data
from aihwjax.experiments.losses import known_losses, loss_name
from aihwjax.layer_rates import LayerRates
from aihwjax.optim import NamedOptimizer

if TYPE_CHECKING:
    from aihwjax.experiments.training import BasicTraining


def dataset_name(dataset: Any) -> str:
    """Return the name of a data set of the catalogue.

    Args:
        dataset: Of an experiment.

    Raises:
        DataError: If it is another one, or has another scaling.
    """
    names = ", ".join(data.names())
    if dataset.name not in data.names():
        raise DataError(f"dataset={dataset.name!r} is not allowed in the cloud: give one of {names}")
    if data.by_name(dataset.name) != dataset:
        raise DataError(f"dataset={dataset.name!r} was changed, which is not allowed in the cloud: give one of {names}")
    return dataset.name


def check_sendable(experiment: BasicTraining) -> None:
    """Refuse what a composer does not do.

    Args:
        experiment: The experiment.

    Raises:
        ConfigError: If it has an optimizer without a name, metrics of the user's own, or an epoch that is not
            validated.
    """
    if experiment.optimizer is not None and not isinstance(experiment.optimizer, NamedOptimizer):
        raise ConfigError(
            "optimizer is not allowed in the cloud: give aihwjax.named_optimizer, or None, or train locally with "
            "aihwjax.fit"
        )
    if experiment.metrics:
        names = ", ".join(map(repr, experiment.metrics))
        raise ConfigError(
            f"metrics ({names}) are functions of your own, which cannot travel to the cloud: leave them out, "
            "experiment.replace(metrics={}), and apply them to the trained model of get_experiment(), "
            "or train locally with aihwjax.fit"
        )
    if experiment.validate_every != 1:
        raise ConfigError(f"validate_every={experiment.validate_every} is not allowed in the cloud: give 1")


def metric_names(model: nnx.Module, output: jax.ShapeDtypeStruct) -> set[str]:
    """Return the names of the metrics of a run on a data set of the catalogue, which has labels and validation.

    Args:
        model: The model; its numbers may be abstract.
        output: Shape of its outputs.
    """
    names = {"train_loss", "valid_loss", "time_epoch"}
    names |= {"accuracy"} if len(output.shape) == 2 else set()
    return names | ({"pulses"} if counts.counters(nnx.state(model)) else set())


def loss_entry(loss: Any) -> str:
    """Return the name of a loss.

    Args:
        loss: Of an experiment.

    Raises:
        ConfigError: If it is not one of the library's.
    """
    from aihwjax.nn import losses

    name = loss_name(loss)
    if name in known_losses() and (isinstance(loss, str) or getattr(losses, name, None) is loss):
        return name
    names = ", ".join(name for name in known_losses() if name.endswith("Loss"))
    raise ConfigError(f"loss_function={name} is not allowed in the cloud: give one of {names}")


def learning_rate(value: Any) -> float | dict[str, float]:
    """Return a learning rate as a number, rates by layer as numbers by path.

    Args:
        value: Of an experiment.

    Raises:
        ConfigError: If it is a schedule, or has one.
    """
    if callable(value):
        raise ConfigError("learning_rate is a schedule, which is not allowed in the cloud: give a number")
    if not isinstance(value, LayerRates):
        return _number(value)
    if value.schedules:
        path = next(iter(value.schedules))
        raise ConfigError(f"learning_rate of {path!r} is a schedule, which is not allowed in the cloud: give a number")
    return {path: _number(rate) for path, rate in value.values(0).items()}


def optimizer_entry(optimizer: Any) -> dict[str, Any]:
    """Return the entry of an optimizer, or nothing if there is none.

    Args:
        optimizer: Of an experiment that can be sent.
    """
    return {"optimizer": optimizer.entry()} if isinstance(optimizer, NamedOptimizer) else {}


def weights_entry(weights: Any) -> list[float]:
    """Return class weights as numbers, which are the same again in single precision.

    Args:
        weights: Of an experiment, ``(classes,)``.
    """
    return [float(weight) for weight in showing.plain(np.asarray(weights, np.float32))]


def _number(value: Any) -> float:
    number = float(showing.plain(np.asarray(value).reshape(())))
    assert math.isfinite(number)  # the experiment checked it
    return number
