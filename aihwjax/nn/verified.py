"""Writing weights by pulses and reading them through the converters, for tile modules and layers of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax import random
from aihwjax.devices.counts import PulseCounts
from aihwjax.errors import ModuleError, ShapeError
from aihwjax.nn.grid import TileGrid
from aihwjax.nn.product import tile_product
from aihwjax.nn.programmed_tile import TileChip
from aihwjax.nn.stacks import each, keys
from aihwjax.precision import in_single
from aihwjax.random import Noise
from aihwjax.tile import verified_writing
from aihwjax.tile.checks import as_numbers, checked_count, require_finite
from aihwjax.tile.config import TileConfig
from aihwjax.tile.reading import read_weights
from aihwjax.tile.state import TileState
from aihwjax.tile.verified_writing import WriteResult, WriteSettings, write_arguments
from aihwjax.typing import EachWeights, Number, Weights

_written = jax.jit(in_single(verified_writing.written), static_argnums=0)


def read_tiles(
    options: tuple[bool, int, int],
    count: int | None,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, "*stack"] | None,
    chip: TileChip | None,
    key: Noise,
) -> EachWeights:
    """Return the weights of a tile module as products of evaluation show them, without a learned output scale.

    Args:
        options: Whether the last column is the bias, vectors for each input, and number of inputs.
        count: Number of tiles in the stack; ``None``: one tile.
        config: The configuration.
        state: The tiles.
        input_range: Their input ranges, or ``None``.
        chip: What is kept of a chip, or ``None``.
        key: Source of the inputs and of the noise.
    """
    weights = each(count, read, options, (config,), (state, input_range, keys(key, count)))
    if chip is None:
        return weights
    return weights * (jnp.atleast_1d(chip.alpha)[:, None] if count is None else chip.alpha.reshape(count, -1, 1))


def write_tiles(
    name: str,
    count: int | None,
    config: TileConfig,
    state: TileState,
    target: object,
    key: Noise,
    reads: int,
    settings: dict[str, Any],
) -> tuple[TileState, WriteResult]:
    """Return the tiles of a module whose weights are written by pulses, and how it went.

    Args:
        name: The module, for errors.
        count: Number of tiles in the stack; ``None``: one tile.
        config: The configuration.
        state: The tiles.
        target: Analog weights ``(out, in)`` of each; ``None``: those that they have.
        key: Source of all noise.
        reads: Number of reads that are averaged.
        settings: Arguments of :func:`aihwjax.tile.verified_writing.write_arguments`.

    Raises:
        ConfigError: If an argument is not allowed.
        ShapeError: If the target does not fit.
    """
    loop, w_init = write_arguments(**settings)
    goal = state.weights if target is None else jnp.asarray(as_numbers("target", target), jnp.float32)
    if goal.shape != state.weights.shape:
        raise ShapeError(f"{name}: target has shape {goal.shape}, give {state.weights.shape}")
    require_finite("target", goal)
    shared = config, jnp.eye(goal.shape[-1], dtype=jnp.float32), loop, w_init
    own = state, goal, keys(random.as_noise(key), count)
    return each(count, written, (checked_count("reads", reads),), shared, own)


def refuse_chip(name: str, chip: object) -> None:
    """Refuse to write a chip by pulses.

    Raises:
        ModuleError: If the tile is programmed as one.
    """
    if chip is not None:
        raise ModuleError(
            f"{name} is programmed as a chip, which has no pulses: give the model that was given to aihwjax.program"
        )


def of_layer(grid: TileGrid, results: Sequence[WriteResult]) -> WriteResult:
    """Return the results of the tile modules of a layer as one, with a number for each tile.

    Args:
        grid: How the matrix lies on the tiles.
        results: One for each tile module.
    """

    def joined(parts: list[jax.Array]) -> jax.Array:
        return jnp.concatenate([jnp.atleast_1d(part) for part in parts])

    counts = [result.pulses for result in results if result.pulses is not None]
    pulses = None
    if counts:
        pulses = PulseCounts(grid.assembled([c.up for c in counts]), grid.assembled([c.down for c in counts]))
    return WriteResult(
        joined([result.iterations for result in results]),
        joined([result.error for result in results]),
        joined([result.deviation for result in results]),
        joined([result.converged for result in results]),
        pulses,
    )


def read(
    analog_bias: bool,
    over_sampling: int,
    in_features: int,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, ""] | None,
    key: Noise,
) -> Weights:
    """Return the weights ``(out, in)`` as products of evaluation show them, times the mapping scales.

    Args:
        analog_bias: Whether the last column of the tile is the bias.
        over_sampling: Vectors for each input.
        in_features: Number of inputs, without the bias.
        config: The configuration.
        state: The tile.
        input_range: The input range, one number, or ``None``.
        key: Source of the inputs and of the noise.
    """
    return _read(config, state, input_range, key, analog_bias, over_sampling, in_features)


@partial(jax.jit, static_argnums=(4, 5, 6))
@in_single
def _read(
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, ""] | None,
    key: Noise,
    analog_bias: bool,
    over_sampling: int,
    in_features: int,
) -> Weights:
    def product(x: Float[Array, "n in"], own: Noise) -> Float[Array, "n out"]:
        return tile_product(analog_bias, None, config, state, input_range, x, None, own)

    return read_weights(
        product,
        in_features,
        key,
        over_sampling=over_sampling,
        bias=analog_bias,
        input_range=None if config.reference_quirks else input_range,
    )


def written(
    reads: int,
    config: TileConfig,
    x: Float[Array, "n in"],
    settings: WriteSettings,
    w_init: Number,
    state: TileState,
    target: Weights,
    key: Noise,
) -> tuple[TileState, WriteResult]:
    """Return a tile whose weights are written by pulses, and how it went; see :func:`aihwjax.tile.program_weights`.

    Args:
        reads: Number of reads that are averaged.
        config: The configuration.
        x: Inputs of the reads ``(n, in)``.
        settings: Numbers of the loop.
        w_init: Range of the weights to start from.
        state: The tile.
        target: What to write ``(out, in)``.
        key: Source of all noise.
    """
    return _written(reads, config, x, settings, w_init, state, target, key)
