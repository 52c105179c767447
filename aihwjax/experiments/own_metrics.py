"""A user's own metrics: functions of all outputs and targets of the validation set."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from aihwjax.errors import ConfigError
from aihwjax.scores import STANDARD

Metric: TypeAlias = Callable[[np.ndarray, np.ndarray], Any]
"""``metric(predictions (n, ...), targets (n, ...)) -> number``, with NumPy arrays of the whole validation set."""

_RESERVED = (*(name for name in STANDARD if name != "accuracy"), "pulses")


def check_metrics(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return metrics by name if they can be some.

    Args:
        metrics: Functions by name.

    Raises:
        ConfigError: If it is no dictionary, a name is taken or no line of text, or a function cannot be called with
            predictions and targets.
    """
    if not isinstance(metrics, Mapping):
        raise ConfigError(
            f"metrics={type(metrics).__name__} is not allowed: give a dictionary such as "
            '{"f1": function} with function(predictions, targets) -> number'
        )
    for name, function in metrics.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ConfigError(f"metrics has the name {name!r}: give a line of text")
        if name in _RESERVED:
            raise ConfigError(f"metrics has the name {name!r}, which a result has already: give another one")
        if not callable(function):
            raise ConfigError(f"metrics[{name!r}]={function!r} is not allowed: give function(predictions, targets)")
        try:
            inspect.signature(function).bind(None, None)
        except TypeError as error:
            raise ConfigError(f"metrics[{name!r}] cannot be called with predictions and targets: {error}") from None
        except ValueError:  # a function of C may have no signature
            continue
    return dict(metrics)


def measured(metrics: Mapping[str, Metric], predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the value of each metric.

    Args:
        metrics: Functions by name.
        predictions: Outputs for the whole validation set, ``(n, ...)``.
        targets: Labels ``(n,)`` or targets ``(n, ...)`` of it.

    Raises:
        ConfigError: If a function fails, or returns anything but one real number; names the metric.
    """
    return {name: _value(name, function, predictions, targets) for name, function in metrics.items()}


def _value(name: str, function: Metric, predictions: np.ndarray, targets: np.ndarray) -> float:
    said = f"metrics[{name!r}] of predictions {predictions.shape} and targets {targets.shape}"
    try:
        # copies: a function that changes its arguments must not change the data
        found = np.asarray(function(np.array(predictions), np.array(targets)))
    except Exception as error:  # what a user's function raises can be anything
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{said} failed: {type(error).__name__}: {reason}") from error
    if found.size != 1 or found.dtype.kind not in "buif":
        raise ConfigError(f"{said} has shape {found.shape} and type {found.dtype}: give one real number")
    return float(found.reshape(()))
