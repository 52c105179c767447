"""What a tile module does with one tile, as functions of its parts: for one, or for each of a stack."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
from jaxtyping import Array, Float, Int

from aihwjax import random, tile
from aihwjax.nn.mapping import along, is_scaled, scale_down
from aihwjax.nn.product import tile_inputs
from aihwjax.precision import in_single
from aihwjax.products import outer
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig
from aihwjax.tile.matching import averages
from aihwjax.tile.state import TileState
from aihwjax.typing import EachWeights, Number, Weights

# compiled once for each kind of tile and shape
_init = jax.jit(tile.init, static_argnames="shape")
_set_weights = jax.jit(tile.set_weights)
_update = jax.jit(tile.update)
_redraw = jax.jit(tile.redraw)


def drawn(shape: tuple[int, int], config: TileConfig, key: Noise) -> TileState:
    """Return a new tile of a shape ``(out, in)``."""
    return _init(config, key, shape=shape)


@jax.jit
def started(config: TileConfig, key: Noise, weights: Weights, write: Noise) -> TileState:
    """Return a tile that is drawn and written at once, so that its first weights are never in memory.

    Args:
        config: The configuration.
        key: Source of its devices.
        weights: Logical weights ``(out, in)``.
        write: Source of write noise.
    """
    scaled = is_scaled(config.mapping, None)
    state = tile.init(config, key, weights.shape)  # type: ignore[arg-type]
    return written(scaled, config, None, state, weights, write)


def redrawn(config: TileConfig, state: TileState, key: Noise) -> TileState:
    """Return a tile with new devices and the same weights."""
    return _redraw(config, state, key)


def written(
    scaled: bool, config: TileConfig, omega: Number | None, state: TileState, weights: Weights, key: Noise
) -> TileState:
    """Return a tile that holds logical weights ``(out, in)``.

    Args:
        scaled: Whether they are scaled.
        config: The configuration.
        omega: Largest magnitude after scaling; ``None``: the configured one.
        state: The tile.
        weights: What to write.
        key: Source of write noise.
    """
    if scaled:
        target = config.mapping.weight_scaling_omega if omega is None else omega
        columnwise = config.mapping.weight_scaling_columnwise
        weights, scales = scale_down(weights, target, columnwise, state.mapping_scales)
        state = dataclasses.replace(state, mapping_scales=scales)
    return _set_weights(config, state, weights, key)


def updated(
    analog_bias: bool,
    config: TileConfig,
    learning_rate: Number,
    part: Int[Array, ""] | None,
    state: TileState,
    input_range: Float[Array, ""] | None,
    x: Float[Array, "*n in"],
    d: Float[Array, "*n out"],
    key: Noise,
) -> TileState:
    """Return a tile after the pulsed update, its scales divided out (spec: update, section 8.3).

    Args:
        analog_bias: Whether the last column of the tile is the bias.
        config: The configuration.
        learning_rate: That of the logical weights.
        part: Number of the part, if a mini-batch comes in several.
        state: The tile.
        input_range: The input range, one number, or ``None``.
        x: Inputs ``(n, in)`` as they reached the tile.
        d: Gradients ``(n, out)`` at its output, before the learned scale.
        key: Source of pulses and noise.
    """
    key = key if part is None else random.derive(key, part)
    rows, d = _pair(analog_bias, config, input_range, x, d)
    scales = state.mapping_scales
    if scales is not None:
        if config.mapping.weight_scaling_lr_compensation:
            compensation = 1 / scales.mean()
            d, learning_rate = d / along(scales * compensation, d), learning_rate * compensation
        else:
            d = d / along(scales, d)
    return _update(config, state, rows, d, learning_rate, key)


def _pair(
    analog_bias: bool,
    config: TileConfig,
    input_range: Float[Array, ""] | None,
    x: Float[Array, "*n in"],
    d: Float[Array, "*n out"],
) -> tuple[Float[Array, "*n columns"], Float[Array, "*n out"]]:
    """Return what the lines of a tile carry, and the gradients at their product with its logical weights."""
    if input_range is not None and not config.reference_quirks:
        d = d * input_range  # spec: update, bug 4: the reference leaves the range out
    return tile_inputs(x, input_range, analog_bias, config.reference_quirks), d


@partial(jax.jit, static_argnames="analog_bias")
@in_single
def weights_gradient(
    analog_bias: bool,
    config: TileConfig,
    scales: Float[Array, " 1"] | Float[Array, " out"] | None,
    input_range: Float[Array, ""] | None,
    x: Float[Array, "*n in"],
    d: Float[Array, "*n out"],
) -> Float[Array, "out columns"]:
    """Return the gradient of the weights that :func:`weights_of` gives.

    Args:
        analog_bias: Whether the last column of the tile is the bias.
        config: The configuration.
        scales: Mapping scales, or ``None`` for 1.
        input_range: The input range, one number, or ``None``.
        x: Inputs ``(n, in)`` as they reached the tile.
        d: Gradients ``(n, out)`` at its output, before the learned scale.
    """
    rows, d = _pair(analog_bias, config, input_range, x, d)
    if scales is not None and config.reference_quirks:
        d = d / along(scales, d)  # of an analog weight, so that the logical one takes a plain step
    return outer(d, rows)


def weights_of(config: TileConfig, state: TileState) -> EachWeights:
    """Return the weights ``(out, in)`` of an inference tile as an optimizer sees them; of a stack ``(tiles, out, in)``.

    They are the logical ones without the learned scale, so that a step does not depend on the mapping. The reference
    has the analog ones (spec: tile_ops, trap 17).

    Args:
        config: The configuration.
        state: The tile.
    """
    scales = None if config.reference_quirks else state.mapping_scales
    return state.weights if scales is None else state.weights * scales[..., None]


def stepped(config: TileConfig, state: TileState, change: Weights, key: Noise) -> TileState:
    """Return an inference tile after a change of the weights that :func:`weights_of` gives.

    Args:
        config: The configuration.
        state: The tile.
        change: What to add to them, ``(out, in)``.
        key: Source of a new modified copy, where one is drawn at once.
    """
    scales = None if config.reference_quirks else state.mapping_scales
    change = change if scales is None else change / scales[:, None]
    return _set_weights(config, state, state.weights + change, key)


def observed(
    analog_bias: bool,
    config: TileConfig,
    state: TileState,
    input_range: Float[Array, ""] | None,
    x: Float[Array, "*n in"],
    read: Float[Array, "*m out"] | None,
) -> TileState:
    """Return a tile whose running averages have seen the vectors of a gradient.

    Args:
        analog_bias: Whether the last column of the tile is the bias.
        config: The configuration.
        state: The tile.
        input_range: The input range, one number, or ``None``.
        x: Inputs ``(n, in)``.
        read: Vectors of the backward product ``(n, out)``, if it averages.
    """
    if averages(config.forward):
        state = tile.observe(config, state, tile_inputs(x, input_range, analog_bias, config.reference_quirks))
    return state if read is None else tile.observe(config, state, read, backward=True)


def after_batch(config: TileConfig, state: TileState, key: Noise) -> TileState:
    """Return a tile after what follows every mini-batch."""
    return tile.end_of_batch(config, state, key)
