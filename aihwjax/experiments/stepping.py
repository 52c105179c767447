"""One training step as a function that can be scanned, and the order in which an epoch takes the examples."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from aihwjax.experiments.batches import Split, Steps, call, rows_of
from aihwjax.experiments.losses import OwnLoss, PerExample, WholeBatch
from aihwjax.experiments.meshes import by_example, everywhere, in_place
from aihwjax.experiments.program import Program, TrainState
from aihwjax.layer_rates import LayerRates
from aihwjax.nn.accumulating import summed
from aihwjax.optim import Training, training_step, with_rate
from aihwjax.random import Noise, NoiseEngine, derive, fold, stream
from aihwjax.typing import Key, Number


def shuffled(program: Program, count: int, key: Key) -> tuple[jax.Array, jax.Array | None]:
    """Return the examples of each step of an epoch, ``(steps, examples)``, and those of a shorter last step, if any.

    Args:
        program: If it pads, ``count`` itself stands for no example and there is no shorter step.
        count: Number of examples.
        key: Key of the epoch.
    """
    full, rest = divmod(count, program.step_size)
    # the order of random words: cheaper than jax.random.permutation, which sorts several times
    order = jnp.argsort(jax.random.bits(fold(key, "shuffle"), (count,), jnp.uint32))
    if rest and program.pad:
        order = jnp.concatenate([order, jnp.full(program.step_size - rest, count, order.dtype)])
        full, rest = full + 1, 0
    rows = order[: full * program.step_size].reshape(full, program.step_size)
    return rows, order[full * program.step_size :] if rest else None


def stepper(
    program: Program,
    moving: nnx.State,
    fixed: nnx.State,
    learning_rate: Number | LayerRates,
    data: Split,
    key: Key,
    count: Number | None,
) -> Callable[[TrainState, tuple[jax.Array, jax.Array]], tuple[TrainState, Steps]]:
    """Return a training step ``(state, (number in the epoch, rows)) -> (state, what it says)``, to be scanned.

    Args:
        program: What to compile for.
        moving: State of the model; only its structure is used.
        fixed: Tile configurations.
        learning_rate: As for :func:`epoch`.
        data: The examples that rows point into.
        key: Key of the epoch.
        count: Rows from here on are empty; ``None``: there are no such rows.
    """
    noise = stream(fold(key, "train"), NoiseEngine.COUNTER)
    optimizer = with_rate(program.optimizer, program.schedule or learning_rate)
    parts = Training(program.graph, moving, fixed)
    if program.accumulate == 1:
        advance = training_step(functools.partial(_mean_loss, program.loss), optimizer, parts)
    else:
        advance = training_step(functools.partial(_share_of_loss, program.loss), optimizer, parts, summed)

    def step(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, Steps]:
        number, rows = batch
        taken = by_example(program.mesh, rows_of(data, rows, count is not None))
        real = None if count is None else rows < count
        arguments = (*taken, real) if program.accumulate == 1 else (_micro_batches(program, taken, real),)
        moving, optimizer_state, loss = advance(*state, fixed, derive(noise, number), *arguments)
        said = Steps(loss, None if taken.weight is None else taken.weight.sum())
        if program.mesh is not None:
            model = nnx.merge(program.graph, moving, fixed)
            moving, optimizer_state = in_place(program.mesh, model, (moving, optimizer_state))
        return (moving, optimizer_state), everywhere(program.mesh, said)

    return step


def _mean_loss(
    loss: PerExample | OwnLoss,
    model: nnx.Module,
    x: jax.Array,
    y: jax.Array,
    weight: jax.Array | None,
    real: jax.Array | None,
    key: Noise,
) -> jax.Array:
    """Return the loss of a batch: of a :class:`WholeBatch` its own, else the weighted mean over the real rows."""
    losses = loss(call(model, x, key), y)
    if isinstance(loss, WholeBatch):
        return losses
    if weight is not None:  # which is 0 in rows that are not real
        return jnp.where(weight > 0, losses * weight, 0).sum() / _or_one(weight.sum())
    if real is None:
        return losses.sum() / losses.shape[0]
    return jnp.where(real, losses, 0).sum() / real.sum()


def _or_one(total: jax.Array) -> jax.Array:
    """Return a sum to divide by: a batch whose weights are all 0 has the loss 0."""
    return jnp.where(total > 0, total, 1)


def _share_of_loss(
    loss: PerExample | OwnLoss, model: nnx.Module, x: jax.Array, y: jax.Array, share: jax.Array, key: Noise
) -> jax.Array:
    """Return what a micro-batch adds to the loss of its batch; ``share`` is that of each row, or of all together."""
    losses = loss(call(model, x, key), y)
    return jnp.where(share > 0, losses * share, 0).sum()


def _micro_batches(program: Program, batch: Split, real: jax.Array | None) -> list[tuple[jax.Array, ...]]:
    """Return the micro-batches of a batch in groups of one size, each ``(x, y, share of the loss)``."""
    count, size = batch.y.shape[0], program.batch_size
    if batch.weight is not None:
        share = batch.weight / _or_one(batch.weight.sum())
    elif real is not None:
        share = real / real.sum()
    else:
        share = jnp.full((count,), 1 / count)
    groups: list[tuple[jax.Array, ...]] = []
    full = count // size * size
    for start, end, length in ((0, full, size), (full, count, count - full)):
        if start < end:
            x, y, each = (a[start:end].reshape(-1, length, *a.shape[1:]) for a in (batch.x, batch.y, share))
            groups.append((x, y, each.sum(1) if isinstance(program.loss, WholeBatch) else each))
    return groups
