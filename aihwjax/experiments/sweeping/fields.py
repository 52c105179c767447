"""What configurations change in the experiment itself: its fields, and numbers within its learning rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from aihwjax.errors import ConfigError, nearest
from aihwjax.experiments.inferencing import BasicInferencing
from aihwjax.experiments.training import BasicTraining
from aihwjax.layer_rates import LayerRates
from aihwjax.schedules import Schedule

Experiment: TypeAlias = BasicTraining | BasicInferencing
"""What a sweep varies."""

RATE = "learning_rate"
EPOCHS = "epochs"
_OF_THE_DATA = ("dataset", "model", "metrics", "validate_every", "weight_template_id")
_WITHIN_RATE = f"{RATE}."


def fields(experiment: Experiment) -> tuple[str, ...]:
    """Return the fields of an experiment that configurations may differ in.

    Args:
        experiment: The experiment.
    """
    return tuple(field.name for field in dataclasses.fields(experiment) if field.name not in _OF_THE_DATA)


def is_field(experiment: Experiment, path: str) -> bool:
    """Whether a path is for the experiment itself and not for its layers.

    Args:
        experiment: The experiment.
        path: The path.
    """
    return path in fields(experiment) or (isinstance(experiment, BasicTraining) and path.startswith(_WITHIN_RATE))


def changed_fields(experiment: Experiment, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a configuration changes, by name; numbers within the learning rate in their place.

    Args:
        experiment: What is varied.
        point: The configuration.

    Raises:
        ConfigError: If the learning rate has no such number (with the nearest name), or a value is not allowed.
    """
    own = fields(experiment)
    found = {path: value for path, value in point.items() if path in own}
    inner = {path.removeprefix(_WITHIN_RATE): value for path, value in point.items() if path.startswith(_WITHIN_RATE)}
    if isinstance(experiment, BasicTraining) and inner:
        rate = found.get(RATE, experiment.learning_rate)
        for path, value in inner.items():
            rate = _within(rate, path, value)
        found[RATE] = rate
    return found


def is_number_of_rate(experiment: BasicTraining, path: str, value: Any) -> bool:
    """Whether another number at a path of the learning rate needs no new program.

    Args:
        experiment: What is varied.
        path: ``learning_rate``, or one within it.
        value: The number.
    """
    if path == RATE:
        return True
    rate: Any = experiment.learning_rate
    inner = path.removeprefix(_WITHIN_RATE)
    if isinstance(rate, LayerRates):  # what is 0 is left out of the program
        return inner in rate.values(0) and inner not in rate.schedules and bool(np.asarray(value).any())
    return isinstance(rate, Schedule) and inner in rate.numbers


def _within(rate: Any, path: str, value: Any) -> Any:
    """Return a learning rate with another number in it."""
    if isinstance(rate, Schedule):
        if path not in rate.arguments:
            raise ConfigError(f"'{_WITHIN_RATE}{path}': {rate} has no argument {path!r}{nearest(path, rate.arguments)}")
        return rate.replace(**{path: value})
    if isinstance(rate, LayerRates):
        entries: dict[str, Any] = {**rate.values(0), **rate.schedules}
        if path not in entries:
            hint = nearest(path, entries) or f": give any of {', '.join(entries)}"
            raise ConfigError(f"'{_WITHIN_RATE}{path}': the learning rate has no entry {path!r}{hint}")
        return LayerRates({**entries, path: value})
    what = "a function, whose numbers nobody sees" if callable(rate) else f"the number {rate}"
    advice = f"give the experiment aj.schedule(optax.cosine_decay_schedule, ...) or rates by path for '{RATE}.{path}'"
    raise ConfigError(f"learning_rate is {what}: {advice}")
