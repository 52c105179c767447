"""Weights of classes and of examples: one number for each example, by which its loss counts in a mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments.losses import LossFunction, WholeBatch, known_losses, loss_name, resolved

_CLASSIFYING = ("nll_loss", "cross_entropy_loss")


def check_class_weights(weights: Any, loss: LossFunction) -> np.ndarray | None:
    """Return class weights as float32 ``(classes,)`` if they can be some.

    Args:
        weights: A number for each class, or ``None``.
        loss: The loss that they are for.

    Raises:
        ConfigError: If they are no finite numbers of at least 0, all are 0, or the loss is not one of labels.
    """
    if weights is None:
        return None
    try:
        array = np.asarray(weights, np.float32)
    except (TypeError, ValueError):
        array = np.zeros(0, np.float32)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all() or (array < 0).any() or not array.any():
        text = " ".join(repr(weights).split())[:60]
        raise ConfigError(
            f"class_weights={text} is not allowed: give a finite number of at least 0 for each class, not all of them 0"
        )
    function = resolved(loss)
    if isinstance(function, WholeBatch):
        raise ConfigError(f"class_weights are not allowed with loss_function={loss_name(loss)}: {_WHOLE}")
    known = known_losses()
    if function in known.values() and function not in [known[name] for name in _CLASSIFYING]:
        raise ConfigError(
            f"class_weights are not allowed with loss_function={loss_name(loss)}, which has no classes: "
            "give 'NLLLoss' or 'CrossEntropyLoss'"
        )
    return array


def check_weights_fit(
    weights: Sequence[float] | np.ndarray | None,
    loss: LossFunction,
    output: jax.ShapeDtypeStruct,
    labels: np.ndarray,
    sample_weight: np.ndarray | None,
) -> None:
    """Refuse weights that don't fit model, targets or loss.

    Args:
        weights: Of the classes, if there are any.
        loss: The loss.
        output: Shape of outputs, ``(n, classes)``.
        labels: Targets of the training set.
        sample_weight: Weight of each training example, if there are any.

    Raises:
        DataError: If there are class weights and targets are no labels, or their number is not the model's outputs; or
            sample weights and a loss that is called on whole batches.
    """
    if weights is not None:
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"class_weights need labels (n,): the targets have shape {labels.shape}")
        if len(weights) != output.shape[1]:
            raise DataError(f"there are {len(weights)} class_weights: the model has {output.shape[1]} outputs")
    if sample_weight is not None and isinstance(resolved(loss), WholeBatch):
        raise DataError(
            f"the data have a sample_weight, which is not allowed with loss_function={loss_name(loss)}: {_WHOLE}"
        )


def example_weights(
    class_weights: Sequence[float] | np.ndarray | None, labels: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray | None:
    """Return the weight of each example, float32 ``(n,)``; ``None`` if all count the same.

    Args:
        class_weights: Of the labels, ``(classes,)``.
        labels: ``(n,)``.
        sample_weight: Of the examples themselves, ``(n,)``.
    """
    if class_weights is None:
        return sample_weight
    chosen = np.asarray(class_weights, np.float32)[labels]
    return chosen if sample_weight is None else chosen * sample_weight


_WHOLE = "it gives one number for a whole batch, so weigh in it, or wrap a loss of each example in per_example"
