"""One epoch as one program: a scan over training steps, then a scan over validation batches.

The data stay on the device and are arguments, never constants. Metrics leave the device once an
epoch. Changing a number (learning rate, device parameter, key) reuses the program.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from aihwjax.experiments.losses import OwnLoss, PerExample, WholeBatch
from aihwjax.experiments.tasks import Task
from aihwjax.nn.containers import takes_key
from aihwjax.optim import OptimizerState, Training, analog_sgd, training_step
from aihwjax.random import Noise, NoiseEngine, derive, fold, stream
from aihwjax.typing import Key, Number

_VALIDATION_ROWS = 256
"""Smallest validation batch: noise is drawn for each vector, so only speed depends on it."""

TrainState: TypeAlias = tuple[nnx.State, OptimizerState]
"""State of the model, without tile configurations, and of the optimizer: all that a step changes."""


class Split(NamedTuple):
    """Examples and their targets, on the device."""

    x: jax.Array
    """Inputs ``(n, ...)``."""
    y: jax.Array
    """Targets ``(n, ...)``."""


class Totals(NamedTuple):
    """What leaves the device after an epoch."""

    train_loss: jax.Array
    """Mean loss of each training step."""
    valid_loss: jax.Array
    """Losses over the validation set, each a sum over examples: together the mean loss times their number."""
    correct: jax.Array
    """Correct validation examples, one number; 0 without classes."""
    predictions: jax.Array | None
    """Outputs for the whole validation set, if the program keeps them."""


@dataclass(frozen=True)
class Program:
    """What an epoch is compiled for; two equal programs share one executable."""

    graph: nnx.GraphDef[Any]
    """The model without its numbers."""
    loss: PerExample | OwnLoss
    """Loss of each example, or a user's loss of a whole batch."""
    optimizer: optax.GradientTransformation | None
    """Optimizer of the digital parameters."""
    schedule: optax.Schedule | None
    """Learning rate as a function of the step; ``None`` if it is a number."""
    batch_size: int
    """Examples in a step."""
    pad: bool
    """Fill a last, partial batch with empty rows instead of tracing a shorter step."""
    task: Task | None = Task.LABELS
    """When a prediction is right; ``None``: there is no such thing."""
    keep: bool = False
    """Whether an epoch returns the outputs for the validation set."""


def call(model: nnx.Module, x: jax.Array, key: Noise) -> jax.Array:
    """Apply a model, with a key if it takes one."""
    if takes_key(type(model)):
        return model(x, key=key)  # type: ignore[operator]
    return model(x)  # type: ignore[operator]


def epoch(
    program: Program,
    state: TrainState,
    fixed: nnx.State,
    learning_rate: Number | np.float32,
    train: Split,
    validation: Split,
    key: Key,
    number: Number | np.uint32,
) -> tuple[TrainState, Totals]:
    """Train one epoch and validate, each one compiled program.

    Args:
        program: What to compile for.
        state: State of model and optimizer; its buffers are reused.
        fixed: Tile configurations.
        learning_rate: Step size, unless the program has a schedule.
        train: Training set; shuffled anew in each epoch.
        validation: Validation set; kept in order.
        key: Key of the run.
        number: The epoch, from 0.
    """
    state, train_loss = train_epoch(program, state, fixed, learning_rate, train, key, number)
    return state, Totals(train_loss, *validate(program, state[0], fixed, validation, key, number))


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
    learning_rate: Number,
    data: Split,
    key: Key,
    number: Number,
) -> tuple[TrainState, jax.Array]:
    """Train one epoch and return the new state and the mean loss of each step; arguments as :func:`epoch`."""
    key = jax.random.fold_in(key, number)
    count, size = data.y.shape[0], program.batch_size
    full, rest = divmod(count, size)
    # the order of random words: cheaper than jax.random.permutation, which sorts several times
    order = jnp.argsort(jax.random.bits(fold(key, "shuffle"), (count,), jnp.uint32))
    if rest and program.pad:
        order = jnp.concatenate([order, jnp.full(size - rest, count, order.dtype)])
        full, rest = full + 1, 0
    padded = full * size > count
    noise = stream(fold(key, "train"), NoiseEngine.COUNTER)
    optimizer = analog_sgd(program.schedule or learning_rate, digital=program.optimizer)
    parts = Training(program.graph, state[0], fixed)
    advance = training_step(functools.partial(_mean_loss, program.loss), optimizer, parts)

    def step(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, jax.Array]:
        number, rows = batch
        x, y = _rows(data, rows, padded)
        real = rows < count if padded else None
        moving, optimizer_state, loss = advance(*state, fixed, derive(noise, number), x, y, real)
        return (moving, optimizer_state), loss

    losses: list[jax.Array] = []
    if full:  # else a loss would see a batch of a size that there is not
        steps = (jnp.arange(full, dtype=jnp.uint32), order[: full * size].reshape(full, size))
        state, each = lax.scan(step, state, steps)
        losses.append(each)
    if rest:
        state, last = step(state, (jnp.uint32(full), order[full * size :]))
        losses.append(last[None])
    return state, jnp.concatenate(losses)


def _mean_loss(
    loss: PerExample | OwnLoss, model: nnx.Module, x: jax.Array, y: jax.Array, real: jax.Array | None, key: Noise
) -> jax.Array:
    """Return the loss of a batch: of a :class:`WholeBatch` its own, else the mean over the real rows."""
    losses = loss(call(model, x, key), y)
    if isinstance(loss, WholeBatch):
        return losses
    if real is None:
        return losses.sum() / losses.shape[0]
    return jnp.where(real, losses, 0).sum() / real.sum()


def _rows(data: Split, rows: jax.Array, padded: bool) -> Split:
    """Return the examples at ``rows``; if ``padded``, a row beyond the last one is empty."""
    if not padded:
        return Split(*(array.at[rows].get(mode="promise_in_bounds") for array in data))
    x = jnp.take(data.x, rows, axis=0, mode="fill", fill_value=0)
    return Split(x, jnp.take(data.y, rows, axis=0, mode="clip"))


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
    size = min(max(program.batch_size, _VALIDATION_ROWS), count)
    batches = -(-count // size)
    padded = batches * size > count
    own = isinstance(program.loss, OwnLoss)
    noise = stream(fold(key, "validate"), NoiseEngine.COUNTER)

    def batch(correct: jax.Array, number: jax.Array) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array | None]]:
        rows = number * size + jnp.arange(size, dtype=jnp.uint32)
        x, y = _rows(data, rows, padded)
        prediction = call(nnx.merge(graph, state), x, derive(noise, number))
        real = rows < count if padded else True
        if program.task is not None:
            correct = correct + (hit(program.task, prediction, y) & real).sum(dtype=jnp.int32)
        losses = None if own else jnp.where(real, program.loss(prediction, y), 0).sum()
        return correct, (losses, prediction if own or program.keep else None)

    correct, (losses, kept) = lax.scan(batch, jnp.int32(0), jnp.arange(batches, dtype=jnp.uint32))
    predictions = None if kept is None else kept.reshape(batches * size, *kept.shape[2:])[:count]
    if losses is None:
        assert predictions is not None
        losses = _own_losses(program, Split(predictions, data.y))
    return losses, correct, predictions if program.keep else None


def _own_losses(program: Program, data: Split) -> jax.Array:
    """Return a user's loss on outputs and targets: of each example, or of each batch times its number of rows."""
    if not isinstance(program.loss, WholeBatch):
        return program.loss(*data)
    count, size = data.y.shape[0], program.batch_size
    full = count // size * size
    losses = []
    if full:
        batches = Split(*(array[:full].reshape(-1, size, *array.shape[1:]) for array in data))
        losses.append(size * lax.map(lambda batch: program.loss(*batch), batches))
    if full < count:
        losses.append((count - full) * program.loss(*(array[full:] for array in data))[None])
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
