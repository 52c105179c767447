"""Writing weights by pulses: read, compare, correct, until the tile is close enough (spec: tile_ops, section 11)."""

from __future__ import annotations

import dataclasses
import functools
import operator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from aihwjax import arguments, random, showing
from aihwjax.devices.counts import PulseCounts, counters
from aihwjax.errors import ConfigError, ShapeError
from aihwjax.loops import repeat_while
from aihwjax.precision import in_single
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, check_learning_rate, checked_count, one_number, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.lifecycle import set_weights
from aihwjax.tile.passes import forward, observe
from aihwjax.tile.state import TileState
from aihwjax.tile.updating import update
from aihwjax.typing import Number, Weights


@arguments.answering
@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WriteResult(showing.Record):
    """How writing by pulses went; of several tiles one number for each."""

    iterations: Int[Array, "*tiles"]
    """Number of corrections."""
    error: Float[Array, "*tiles"]
    """What the last read says: mean magnitude of the error of the outputs, over their largest magnitude."""
    deviation: Float[Array, "*tiles"]
    """What nobody can read: mean magnitude of the error of the weights, over their largest magnitude."""
    converged: Bool[Array, "*tiles"]
    """Whether the last read was within the tolerance."""
    pulses: PulseCounts | None
    """Pulses of each crosspoint, if the devices count them."""


class WriteSettings(NamedTuple):
    """Numbers of the loop, which may all be traced."""

    tolerance: Number
    """Error at which the loop ends; 0: never."""
    max_iterations: Number
    """Most corrections."""
    learning_rate: Number
    """Learning rate of a correction."""


@arguments.answered
@in_single
def program_weights(
    config: TileConfig,
    state: TileState,
    target: Weights | None,
    key: Noise,
    *,
    tolerance: Number = 0.01,
    max_iterations: int = 10000,
    learning_rate: Number = 0.1,
    w_init: Number | Weights = 0.01,
    x: Float[Array, "n in"] | None = None,
    reads: int = 1,
) -> tuple[TileState, WriteResult]:
    """Write weights as a chip can: by pulses that correct what reads through the converters show.

    ::

        w = uniform in -w_init … w_init
        repeat:  e = product(x) - x targetᵀ
                 stop if mean |e| / max |x targetᵀ| < tolerance
                 pulsed update with x, d = e and the learning rate

    Noise of the converters is part of what is read: the mean magnitude of a Gaussian one of standard deviation σ is
    0.8 σ, and an error below that over the largest output is never seen, however good the weights are. With the default
    output noise of 0.06, weights of up to 1 and one read, a tolerance below 0.05 means that all iterations run. More
    ``reads`` bring it down by their square root; ``deviation`` of the result tells how good the weights are.

    Example:
        >>> import jax
        >>> import aihwjax as aj
        >>> config = aj.SingleRPUConfig(forward=aj.IOParameters(is_perfect=True))
        >>> key = jax.random.key(0)
        >>> state = aj.tile.init(config, key, (3, 4))
        >>> target = jax.random.uniform(key, (3, 4), minval=-0.4, maxval=0.4)
        >>> state, result = aj.tile.program_weights(config, state, target, key, tolerance=0.02, max_iterations=200)
        >>> bool(result.converged), bool(abs(state.weights - target).max() < 0.1)
        (True, True)

    Args:
        config: The tile's configuration.
        state: The tile.
        target: Analog weights ``(out, in)``; ``None``: those that the tile has.
        key: Source of all noise.
        tolerance: Error at which writing ends, at least 0; 0: never, so all iterations run.
        max_iterations: Most corrections, a whole number of at least 0.
        learning_rate: Learning rate of the corrections.
        w_init: Where the weights start: a number, for a range of uniform ones, or weights ``(out, in)``.
        x: Inputs of the reads ``(n, in)`` as they reach the converters; ``None``: the identity, line by line.
        reads: Number of reads that are averaged before a correction.

    Returns:
        The tile, and how it went. Mapping scales and the input range play no part and stay.

    Raises:
        ConfigError: If an argument is not allowed, or the tile was drawn with another configuration.
        DataError: If ``target``, ``w_init`` or ``x`` is no array of real numbers.
        ShapeError: If one of them does not fit the tile.
        NonFiniteError: If one of them has NaN or infinity (not checked inside a traced function).
    """
    settings = write_settings(tolerance, max_iterations, learning_rate)
    key, reads = random.as_noise(key), checked_count("reads", reads)
    goal = state.weights if target is None else _fitting("target", target, state.shape)
    rows = jnp.eye(state.shape[1]) if x is None else _rows(x, state.shape[1])
    return _program(config, state, goal, starting(w_init, state.shape), rows, settings, key, reads=reads)


def write_settings(tolerance: object, max_iterations: object, learning_rate: object) -> WriteSettings:
    """Return the numbers of the loop, checked.

    Args:
        tolerance: One number of at least 0.
        max_iterations: A whole number of at least 0.
        learning_rate: One finite number of at least 0.

    Raises:
        ConfigError: If one of them is not allowed.
    """
    limit = one_number("tolerance", tolerance)
    if not isinstance(limit, jax.core.Tracer) and not 0 <= float(np.asarray(limit)) < np.inf:
        raise ConfigError(f"tolerance={tolerance!r} is not allowed: give a finite number of at least 0")
    whole = isinstance(max_iterations, int | np.integer) and not isinstance(max_iterations, bool)
    if not whole or not 0 <= max_iterations < 2**31:  # type: ignore[operator]
        raise ConfigError(f"max_iterations={max_iterations!r} is not allowed: give a whole number of at least 0")
    return WriteSettings(limit, int(max_iterations), check_learning_rate(learning_rate))  # type: ignore[call-overload]


def write_arguments(
    *,
    tolerance: object = 0.01,
    max_iterations: object = 10000,
    learning_rate: object = 0.1,
    w_init: object = 0.01,
) -> tuple[WriteSettings, Number]:
    """Return the numbers of the loop and the range of the weights to start from, checked.

    Args:
        tolerance: As for :func:`program_weights`.
        max_iterations: As there.
        learning_rate: As there.
        w_init: As there, but a number.

    Raises:
        ConfigError: If one of them is not allowed.
    """
    number = one_number("w_init", w_init)
    return write_settings(tolerance, max_iterations, learning_rate), starting(number, (1, 1))


def starting(w_init: object, shape: tuple[int, int]) -> Number | Weights:
    """Return where weights start: weights of a tile, or a number of at least 0.

    Args:
        w_init: Either.
        shape: ``(out, in)`` of the tile.

    Raises:
        ConfigError: If it is a number that is not allowed.
        ShapeError: If it is an array of another shape.
    """
    if np.ndim(w_init) > 0:  # type: ignore[arg-type]
        return _fitting("w_init", w_init, shape)
    number = one_number("w_init", w_init)
    if not isinstance(number, jax.core.Tracer) and not 0 <= float(np.asarray(number)) < np.inf:
        raise ConfigError(f"w_init={number!r} is not allowed: give a finite number of at least 0, or weights {shape}")
    return number


def _fitting(name: str, weights: object, shape: tuple[int, int]) -> Weights:
    array = as_numbers(name, weights)
    if jnp.shape(array) != shape:
        raise ShapeError(f"{name} has shape {jnp.shape(array)}: give {shape}, (out, in) of the tile")
    require_finite(name, array)
    return jnp.asarray(array, jnp.float32)


def _rows(x: object, in_size: int) -> Float[Array, "n in"]:
    array = as_numbers("x", x)
    if jnp.ndim(array) != 2 or jnp.shape(array)[-1] != in_size or jnp.shape(array)[0] == 0:
        raise ShapeError(f"x has shape {jnp.shape(array)}: give (n, {in_size}), the tile's number of inputs")
    require_finite("x", array)
    return jnp.asarray(array, jnp.float32)


class _Turn(NamedTuple):
    state: TileState
    done: Int[Array, ""]
    error: Float[Array, ""]
    wrong: Float[Array, "n out"]


def written(
    reads: int,
    config: TileConfig,
    x: Float[Array, "n in"],
    settings: WriteSettings,
    w_init: Number | Weights,
    state: TileState,
    target: Weights,
    key: Noise,
) -> tuple[TileState, WriteResult]:
    """Return a tile that is written by pulses, and how it went; see :func:`program_weights`.

    Args:
        reads: Number of reads that are averaged.
        config: The configuration.
        x: Inputs of the reads ``(n, in)``.
        settings: Numbers of the loop.
        w_init: Weights to start from, or the range of uniform ones.
        state: The tile.
        target: What to write ``(out, in)``.
        key: Source of all noise.
    """
    source = random.stream(key, random.NoiseEngine.COUNTER)
    tolerance, limit = jnp.asarray(settings.tolerance, jnp.float32), jnp.asarray(settings.max_iterations, jnp.int32)
    before = counters(state.device)
    kept = state.input_range
    wanted = jnp.matmul(x, target.T, precision="highest")
    scale, rows = jnp.max(jnp.abs(wanted)), jnp.tile(x, (reads, 1))
    first = jnp.asarray(w_init, jnp.float32)
    if first.ndim == 0:
        first = first * (2 * source.child("start").uniform(target.shape) - 1)
    state = set_weights(config, dataclasses.replace(state, input_range=None), first, source.child("write"))

    def read(state: TileState, done: Int[Array, ""]) -> _Turn:
        own = source.child("read").child(done)
        y = forward(config, state, rows, own, training=True)
        wrong = y.reshape(reads, *wanted.shape).mean(axis=0) - wanted
        error = jnp.mean(jnp.abs(wrong)) / jnp.where(scale > 0, scale, 1.0)
        return _Turn(observe(config, state, rows), done, error, wrong)

    def goes_on(turn: _Turn) -> Bool[Array, ""]:
        return ~(turn.error < tolerance) & (turn.done < limit)

    def correct(turn: _Turn) -> _Turn:
        own = source.child("update").child(turn.done)
        state = update(config, turn.state, x, turn.wrong, settings.learning_rate, own)
        return read(state, turn.done + 1)

    last = repeat_while(goes_on, correct, read(state, jnp.zeros((), jnp.int32)))
    largest = jnp.max(jnp.abs(target))
    deviation = jnp.mean(jnp.abs(last.state.weights - target)) / jnp.where(largest > 0, largest, 1.0)
    pulses = None
    if before:
        each = [
            PulseCounts(b.up - a.up, b.down - a.down) for a, b in zip(before, counters(last.state.device), strict=True)
        ]
        pulses = functools.reduce(operator.add, each)
    result = WriteResult(last.done, last.error, deviation, last.error < tolerance, pulses)
    return dataclasses.replace(last.state, input_range=kept), result


@partial(jax.jit, static_argnames="reads")
def _program(
    config: TileConfig,
    state: TileState,
    target: Weights,
    w_init: Number | Weights,
    x: Float[Array, "n in"],
    settings: WriteSettings,
    key: Noise,
    *,
    reads: int,
) -> tuple[TileState, WriteResult]:
    return written(reads, config, x, settings, w_init, state, target, key)
