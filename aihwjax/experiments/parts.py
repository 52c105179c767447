"""An epoch in parts: between reports every so many steps, or with examples that arrive while it is trained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from aihwjax.experiments import loop
from aihwjax.experiments.batches import Split, Steps
from aihwjax.experiments.program import Program, TrainState
from aihwjax.experiments.stepping import shuffled, stepper
from aihwjax.experiments.watching import Watch
from aihwjax.layer_rates import LayerRates
from aihwjax.typing import Key, Number


class Chunk(NamedTuple):
    """Some steps of an epoch and their examples."""

    data: Split
    """The examples."""
    rows: jax.Array
    """Examples of each step ``(most steps, examples)``, by their place in the data."""
    steps: int
    """Steps to take; further rows are not looked at."""
    rest: jax.Array | None
    """Examples of one more, shorter step, if there is one."""
    padded: bool
    """Whether rows may be empty."""
    filled: int
    """Rows from here on are empty if there are such."""

    def sizes(self, size: int) -> list[int]:
        """Return the number of examples of each step; ``size`` is that of a whole one."""
        left = self.filled if self.padded else self.steps * size
        whole = [min(size, left - i * size) for i in range(self.steps)]
        return whole if self.rest is None else [*whole, len(self.rest)]


class Parts:
    """Trains epochs chunk by chunk, and within a chunk from report to report."""

    def __init__(
        self,
        program: Program,
        numbers: tuple[nnx.State, Number | LayerRates],
        key: Key,
        chunks: Callable[[int], Generator[Chunk, None, None]],
        watch: Watch,
    ) -> None:
        """Prepare.

        Args:
            program: What to compile for.
            numbers: Tile configurations and learning rate.
            key: Key of the run.
            chunks: Yields the chunks of an epoch.
            watch: Calls reports between steps.
        """
        self._program, self._key, self._chunks, self._watch = program, key, chunks, watch
        self._fixed, self._rate = numbers
        self.stopped = False
        """Whether a report ended the run."""

    def epoch(
        self, state: TrainState, validation: Split | None, number: int, turn: jax.Array
    ) -> tuple[TrainState, loop.Totals | None]:
        """Train one epoch and validate, as :func:`aihwjax.experiments.loop.epoch`.

        Args:
            state: State of model and optimizer; its buffers are reused.
            validation: Validation set, or ``None``.
            number: The epoch, from 0.
            turn: The same on the device.

        Returns:
            The new state, and what there is to say of the epoch; ``None`` if a report ended it before its last step.
        """
        losses: list[np.ndarray] = []
        weights: list[np.ndarray] = []
        done, first, goes_on = 0, int(state[1].step), True
        with closing(self._chunks(number)) as chunks:
            for chunk in chunks:
                sizes = chunk.sizes(self._program.step_size)
                taken, at = _none_taken(chunk), 0
                while at < len(sizes) and goes_on:
                    end = min(len(sizes), self._watch.following(first + done + at) - first - done)
                    state, taken = self._take(state, taken, chunk, turn, (at, end, done))
                    at = end
                    if self._watch.is_due(first + done + at):
                        loss, weight = _fetched(taken, sizes, at)
                        so_far = np.concatenate([*losses, loss]), np.concatenate([*weights, weight])
                        goes_on = self._watch(number, first + done + at, *so_far)
                loss, weight = _fetched(taken, sizes, at)
                losses.append(loss)
                weights.append(weight)
                done += at
                if not goes_on:
                    self.stopped = True
                    if at < len(sizes) or next(chunks, None) is not None:
                        return state, None
        steps: Any = np.concatenate(losses), np.concatenate(weights)
        if validation is None:
            return state, loop.Totals(steps[0], None, jnp.int32(0), None, steps[1])
        found, correct, kept = loop.validate(self._program, state[0], self._fixed, validation, self._key, turn)
        return state, loop.Totals(steps[0], found, correct, kept, steps[1])

    def _take(
        self, state: TrainState, taken: Steps, chunk: Chunk, turn: jax.Array, span: tuple[int, int, int]
    ) -> tuple[TrainState, Steps]:
        """Take the steps of a chunk from the first number to before the second, after as many as the third."""
        at, end, before = span
        common = (self._fixed, self._rate, chunk.data, self._key, turn)
        if at < min(end, chunk.steps):
            numbers = jax.device_put(np.asarray([at, min(end, chunk.steps), before, chunk.filled], np.uint32))
            state, taken = _train_part(self._program, state, taken, *common, chunk.rows, numbers, chunk.padded)
        if end > chunk.steps and chunk.rest is not None:
            number = jax.device_put(np.uint32(before + chunk.steps))
            state, last = _train_rest(self._program, state, *common, chunk.rest, number)
            taken = jax.tree.map(lambda some, one: some.at[chunk.steps].set(one), taken, last)
        return state, taken


def array_chunks(program: Program, data: Split, key: Key) -> Callable[[int], Generator[Chunk, None, None]]:
    """Return a function that yields an epoch over arrays as one chunk, shuffled as in the undivided epoch.

    Args:
        program: What is compiled for.
        data: Training set, on the device.
        key: Key of the run.
    """
    count = data.y.shape[0]

    def chunks(number: int) -> Generator[Chunk, None, None]:
        rows, rest = _shuffled(program, count, key, jax.device_put(np.uint32(number)))
        yield Chunk(data, rows, len(rows), rest, rows.size > count, count)

    return chunks


def _none_taken(chunk: Chunk) -> Steps:
    zeros = jnp.zeros((len(chunk.rows) + 1,), jnp.float32)  # one more for the rest, whether there is one or not
    return Steps(zeros, None if chunk.data.weight is None else zeros.copy())


def _fetched(taken: Steps, sizes: list[int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return losses and weights of the first steps; without weights, the numbers of their examples."""
    loss, weight = jax.device_get(taken)
    return loss[:count], np.asarray(sizes if weight is None else weight, np.float32)[:count]


@functools.partial(jax.jit, static_argnames=("program", "count"))
def _shuffled(program: Program, count: int, key: Key, number: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    return shuffled(program, count, jax.random.fold_in(key, number))


_OPTIONS = {"xla_cpu_prefer_vector_width": 512}


@functools.partial(
    jax.jit, static_argnames=("program", "padded"), donate_argnames=("state", "taken"), compiler_options=_OPTIONS
)
def _train_part(
    program: Program,
    state: TrainState,
    taken: Steps,
    fixed: nnx.State,
    learning_rate: Number | LayerRates,
    data: Split,
    key: Key,
    turn: jax.Array,
    rows: jax.Array,
    numbers: jax.Array,
    padded: bool,
) -> tuple[TrainState, Steps]:
    """Take steps of a chunk; which ones is no part of the program, so any number of them shares it."""
    first, end, before, count = numbers
    key = jax.random.fold_in(key, turn)
    step = stepper(program, state[0], fixed, learning_rate, data, key, count if padded else None)

    def body(i: jax.Array, carry: tuple[TrainState, Steps]) -> tuple[TrainState, Steps]:
        state, taken = carry
        state, found = step(state, (before + i, rows[i]))
        return state, jax.tree.map(lambda some, one: some.at[i].set(one), taken, found)

    return lax.fori_loop(first, end, body, (state, taken))


@functools.partial(jax.jit, static_argnames=("program",), donate_argnames=("state",), compiler_options=_OPTIONS)
def _train_rest(
    program: Program,
    state: TrainState,
    fixed: nnx.State,
    learning_rate: Number | LayerRates,
    data: Split,
    key: Key,
    turn: jax.Array,
    rows: jax.Array,
    number: jax.Array,
) -> tuple[TrainState, Any]:
    key = jax.random.fold_in(key, turn)
    return stepper(program, state[0], fixed, learning_rate, data, key, None)(state, (number, rows))
