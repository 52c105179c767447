"""Examples on the device, and the model applied to some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from aihwjax.experiments.data import Splits
from aihwjax.experiments.data.dataset import StreamedSplits, sample_weight
from aihwjax.experiments.weighting import example_weights
from aihwjax.nn.calling import apply
from aihwjax.random import Noise

if TYPE_CHECKING:
    from aihwjax.experiments.training import BasicTraining


class Split(NamedTuple):
    """Examples and their targets, on the device."""

    x: jax.Array
    """Inputs ``(n, ...)``."""
    y: jax.Array
    """Targets ``(n, ...)``."""
    weight: jax.Array | None = None
    """How much each example counts, ``(n,)``; ``None``: all the same."""


class Steps(NamedTuple):
    """What training steps say of themselves."""

    loss: jax.Array
    """Mean loss of each step ``(steps,)``."""
    weight: jax.Array | None
    """Sum of the weights of its examples; ``None`` without weights."""


def call(model: nnx.Module, x: jax.Array, key: Noise) -> jax.Array:
    """Apply a model in the way that it wants its noise: with a key, or by :func:`aihwjax.nn.call`."""
    return apply(model, x, key)


def rows_of(data: Split, rows: jax.Array, padded: bool) -> Split:
    """Return the examples at ``rows``; if ``padded``, a row beyond the last one is empty."""
    if not padded:
        return jax.tree.map(lambda array: array.at[rows].get(mode="promise_in_bounds"), data)
    x = jnp.take(data.x, rows, axis=0, mode="fill", fill_value=0)
    weight = None if data.weight is None else jnp.take(data.weight, rows, mode="fill", fill_value=0)
    return Split(x, jnp.take(data.y, rows, axis=0, mode="clip"), weight)


def on_device(experiment: BasicTraining, splits: Splits) -> tuple[Split, Split | None]:
    """Return the training and the validation set, ``None`` if nothing is validated.

    Args:
        experiment: Has the class weights.
        splits: The data; of a stream, the first piece stands for the training set.
    """
    weights = experiment.class_weights
    weight = (
        None if isinstance(splits, StreamedSplits) else example_weights(weights, splits.train_y, sample_weight(splits))
    )
    train = Split(*jax.device_put((splits.train_x, splits.train_y, weight)))
    valid = None
    if len(splits.valid_y) and experiment.validate_every:
        weight = example_weights(weights, splits.valid_y)
        valid = Split(*jax.device_put((splits.valid_x, splits.valid_y, weight)))
    return train, valid
