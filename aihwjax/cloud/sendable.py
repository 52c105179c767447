"""What of an experiment can travel: names, not functions or arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments import data
from aihwjax.experiments.losses import known_losses, loss_name
from aihwjax.layer_rates import LayerRates

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
        ConfigError: If it has class weights, or an epoch is not validated.
    """
    if experiment.class_weights is not None:
        raise ConfigError(
            "class_weights are not allowed in the cloud: leave them out, or train locally with aihwjax.fit"
        )
    if experiment.validate_every != 1:
        raise ConfigError(f"validate_every={experiment.validate_every} is not allowed in the cloud: give 1")


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


def learning_rate(value: Any) -> float:
    """Return a learning rate as a number.

    Args:
        value: Of an experiment.

    Raises:
        ConfigError: If it is a schedule, or by layer.
    """
    if callable(value):
        raise ConfigError("learning_rate is a schedule, which is not allowed in the cloud: give a number")
    if isinstance(value, LayerRates):
        raise ConfigError("learning_rate is by layer, which is not allowed in the cloud: give a number")
    number = float(np.asarray(value).reshape(()))
    assert math.isfinite(number)  # the experiment checked it
    return number
