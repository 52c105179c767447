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

from aihwjax.experiments.losses import PerExample
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
    """Sum of the losses of each validation batch."""
    correct: jax.Array
    """Correct validation examples, one number."""


@dataclass(frozen=True)
class Program:
    """What an epoch is compiled for; two equal programs share one executable."""

    graph: nnx.GraphDef[Any]
    """The model without its numbers."""
    loss: PerExample
    """Loss of each example."""
    optimizer: optax.GradientTransformation | None
    """Optimizer of the digital parameters."""
    schedule: optax.Schedule | None
    """Learning rate as a function of the step; ``None`` if it is a number."""
    batch_size: int
    """Examples in a step."""
    pad: bool
    """Fill a last, partial batch with empty rows instead of tracing a shorter step."""


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
    valid_loss, correct = validate(program, state[0], fixed, validation, key, number)
    return state, Totals(train_loss, valid_loss, correct)


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

    steps = (jnp.arange(full, dtype=jnp.uint32), order[: full * size].reshape(full, size))
    state, losses = lax.scan(step, state, steps)
    if rest:
        state, last = step(state, (jnp.uint32(full), order[full * size :]))
        losses = jnp.append(losses, last)
    return state, losses


def _mean_loss(
    loss: PerExample, model: nnx.Module, x: jax.Array, y: jax.Array, real: jax.Array | None, key: Noise
) -> jax.Array:
    """Return the mean loss over the real rows of a batch (all, if ``real`` is ``None``)."""
    losses = loss(call(model, x, key), y)
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
) -> tuple[jax.Array, jax.Array]:
    """Return the sum of the losses of each validation batch and the number of correct examples."""
    key = jax.random.fold_in(key, number)
    model = nnx.merge(program.graph, moving, fixed)
    model.eval()
    graph, state = nnx.split(model)
    count = data.y.shape[0]
    size = min(max(program.batch_size, _VALIDATION_ROWS), count)
    batches = -(-count // size)
    padded = batches * size > count
    noise = stream(fold(key, "validate"), NoiseEngine.COUNTER)

    def batch(correct: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = number * size + jnp.arange(size, dtype=jnp.uint32)
        x, y = _rows(data, rows, padded)
        prediction = call(nnx.merge(graph, state), x, derive(noise, number))
        losses, hits = program.loss(prediction, y), hit(prediction, y)
        if padded:
            real = rows < count
            losses, hits = jnp.where(real, losses, 0), hits & real
        return correct + hits.sum(dtype=jnp.int32), losses.sum()

    correct, losses = lax.scan(batch, jnp.int32(0), jnp.arange(batches, dtype=jnp.uint32))
    return losses, correct


def hit(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Return for each example whether the prediction is right.

    Labels are compared with the largest output; one-hot targets with theirs; a single output with
    the side of 0.5 on which its target lies.

    Args:
        prediction: Outputs ``(n, classes)``.
        target: Labels ``(n,)`` or targets shaped like the outputs.
    """
    if target.ndim < prediction.ndim and jnp.issubdtype(target.dtype, jnp.integer):
        return jnp.argmax(prediction, axis=1) == target
    flat, goal = prediction.reshape(len(prediction), -1), target.reshape(len(target), -1)
    if flat.shape[1] > 1:
        return jnp.argmax(flat, axis=1) == jnp.argmax(goal, axis=1)
    return ((flat > 0.5) == (goal > 0.5)).all(axis=1)
