"""One epoch as one program: a scan over training steps, then a scan over validation batches.

The data stay on the device and are arguments, never constants. Metrics leave the device once an
epoch. Changing a number (learning rate, device parameter, key) reuses the program.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from aihwjax.experiments.batches import Split, Steps, call, rows_of
from aihwjax.experiments.losses import OwnLoss, WholeBatch
from aihwjax.experiments.meshes import by_example, everywhere
from aihwjax.experiments.program import Program, TrainState
from aihwjax.experiments.stepping import shuffled, stepper
from aihwjax.experiments.tasks import Task
from aihwjax.layer_rates import LayerRates
from aihwjax.random import NoiseEngine, derive, fold, stream
from aihwjax.typing import Key, Number

_VALIDATION_ROWS = 256
"""Smallest validation batch: noise is drawn for each vector, so only speed depends on it."""


class Totals(NamedTuple):
    """What leaves the device after an epoch."""

    train_loss: jax.Array
    """Mean loss of each training step."""
    valid_loss: jax.Array | None
    """Losses over the validation set, each a weighted sum over examples: together the mean loss times all weights."""
    correct: jax.Array
    """Correct validation examples, one number; 0 without classes."""
    predictions: jax.Array | None
    """Outputs for the whole validation set, if the program keeps them."""
    train_weight: jax.Array | None = None
    """Sum of the weights of each training step's examples, if there are weights."""


def epoch(
    program: Program,
    state: TrainState,
    fixed: nnx.State,
    learning_rate: Number | np.float32 | LayerRates,
    train: Split,
    validation: Split | None,
    key: Key,
    number: Number | np.uint32,
) -> tuple[TrainState, Totals]:
    """Train one epoch and validate, each one compiled program.

    Args:
        program: What to compile for.
        state: State of model and optimizer; its buffers are reused.
        fixed: Tile configurations.
        learning_rate: Step size, unless the program has a schedule; or step sizes by path.
        train: Training set; shuffled anew in each epoch.
        validation: Validation set; kept in order. ``None``: there is nothing to validate.
        key: Key of the run.
        number: The epoch, from 0.
    """
    state, steps = train_epoch(program, state, fixed, learning_rate, train, key, number)
    if validation is None:
        return state, Totals(steps.loss, None, jnp.int32(0), None, steps.weight)
    losses, correct, predictions = validate(program, state[0], fixed, validation, key, number)
    return state, Totals(steps.loss, losses, correct, predictions, steps.weight)


# wide vectors make the passes over the crosspoints 5 to 10 % faster on processors that have them
@functools.partial(
    jax.jit,
    static_argnames=("program",),
    donate_argnames=("state",),
    compiler_options={"xla_cpu_prefer_vector_width": 512},
)
def train_epoch(
    program: Program,
    state: TrainState,
    fixed: nnx.State,
    learning_rate: Number | LayerRates,
    data: Split,
    key: Key,
    number: Number,
) -> tuple[TrainState, Steps]:
    """Train one epoch and return the new state and what its steps say; arguments as :func:`epoch`."""
    key = jax.random.fold_in(key, number)
    count = data.y.shape[0]
    rows, rest = shuffled(program, count, key)
    padded = rows.size > count
    step = stepper(program, state[0], fixed, learning_rate, data, key, count if padded else None)
    found: list[Steps] = []
    if len(rows):  # else a loss would see a batch of a size that there is not
        state, each = lax.scan(step, state, (jnp.arange(len(rows), dtype=jnp.uint32), rows))
        found.append(each)
    if rest is not None:
        state, last = step(state, (jnp.uint32(len(rows)), rest))
        found.append(jax.tree.map(lambda value: value[None], last))
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)


@functools.partial(jax.jit, static_argnames=("program",))
def validate(
    program: Program, moving: nnx.State, fixed: nnx.State, data: Split, key: Key, number: Number
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Return losses, the number of correct examples and, if kept, outputs, as in :class:`Totals`.

    Outputs are computed in batches of a size that suits the machine, the last one filled up. A
    user's loss is called on the outputs of true rows, one of whole batches in batches as large as those of training.
    """
    key = jax.random.fold_in(key, number)
    model = nnx.merge(program.graph, moving, fixed)
    model.eval()
    graph, state = nnx.split(model)
    count = data.y.shape[0]
    size = validation_rows(program.batch_size, count)
    batches = -(-count // size)
    padded = batches * size > count
    own = isinstance(program.loss, OwnLoss)
    noise = stream(fold(key, "validate"), NoiseEngine.COUNTER)

    def batch(correct: jax.Array, number: jax.Array) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array | None]]:
        rows = number * size + jnp.arange(size, dtype=jnp.uint32)
        x, y, weight = by_example(program.mesh, rows_of(data, rows, padded))
        prediction = call(nnx.merge(graph, state), x, derive(noise, number))
        real = rows < count if padded else True
        if program.task is not None:
            correct = correct + (hit(program.task, prediction, y) & real).sum(dtype=jnp.int32)
        losses = None if own else _weighed(jnp.where(real, program.loss(prediction, y), 0), weight).sum()
        return correct, (losses, prediction if own or program.keep else None)

    correct, (losses, kept) = lax.scan(batch, jnp.int32(0), jnp.arange(batches, dtype=jnp.uint32))
    predictions = None if kept is None else kept.reshape(batches * size, *kept.shape[2:])[:count]
    if losses is None:
        assert predictions is not None
        losses = _weighed(_own_losses(program, Split(predictions, data.y)), data.weight)
    return everywhere(program.mesh, (losses, correct, predictions if program.keep else None))


def validation_rows(batch_size: int, count: int) -> int:
    """Return how many examples are validated at once.

    Args:
        batch_size: Examples in a batch of the training.
        count: Examples of the validation set.
    """
    return min(max(batch_size, _VALIDATION_ROWS), count)


def _weighed(losses: jax.Array, weight: jax.Array | None) -> jax.Array:
    """Return the losses of examples times their weights; a weight of 0 takes a loss that is not finite, too."""
    return losses if weight is None else jnp.where(weight > 0, losses * weight, 0)


def _own_losses(program: Program, data: Split) -> jax.Array:
    """Return a user's loss on outputs and targets: of each example, or of each batch times its number of rows."""
    if not isinstance(program.loss, WholeBatch):
        return program.loss(*data[:2])
    count, size = data.y.shape[0], program.batch_size
    full = count // size * size
    losses = []
    if full:
        batches = [array[:full].reshape(-1, size, *array.shape[1:]) for array in data[:2]]
        losses.append(size * lax.map(lambda batch: program.loss(*batch), batches))
    if full < count:
        losses.append((count - full) * program.loss(*(array[full:] for array in data[:2]))[None])
    return jnp.concatenate(losses)


def hit(task: Task, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Return for each example whether the prediction is right.

    Args:
        task: When it is.
        prediction: Outputs ``(n, classes)``.
        target: Labels ``(n,)`` or targets shaped like the outputs.
    """
    if task is Task.LABELS:
        return jnp.argmax(prediction, axis=1) == target
    if task is Task.ONE_HOT:
        return jnp.argmax(prediction, axis=1) == jnp.argmax(target, axis=1)
    return ((prediction > 0.5) == (target > 0.5)).all(axis=1)
