"""The weights of inference tiles as parameters: as an optimizer sees them, their gradient, and the step it gives them.

They lie in the state of a tile with all else that it has, so that no gradient of JAX finds them. Here they are one
matrix for each tile module, beside the parameters of the model (spec: layers, section 17).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from aihwjax import random
from aihwjax.nn import one_tile
from aihwjax.nn.patches import Patches, all_rows, in_parts
from aihwjax.nn.product import TileInput
from aihwjax.nn.stacks import each, keys
from aihwjax.nn.tile import AnalogTile, checked_pair
from aihwjax.nn.variables import ModelState, TileWeights
from aihwjax.random import Noise
from aihwjax.typing import EachWeights

Path: TypeAlias = tuple[Any, ...]
"""Path of a module, names and indices as of Flax."""
_NAME = "weights"


def digital_parameters(model: nnx.Module) -> ModelState:
    """Return each ``nnx.Param`` of a model; what changes in the model later does not change in them.

    Args:
        model: Any NNX module.
    """
    return jax.tree.map(lambda array: array, nnx.state(model, nnx.Param))


def inference_tiles(model: nnx.Module) -> dict[Path, AnalogTile]:
    """Return the inference tiles of a model by path; a shared tile appears once.

    Args:
        model: Any NNX module.
    """
    tiles = {path: part for path, part in nnx.iter_modules(model) if isinstance(part, AnalogTile)}
    return {path: tile for path, tile in tiles.items() if tile.config.get_value().inference}


def with_weights(params: ModelState, weights: Mapping[Path, EachWeights]) -> ModelState:
    """Return parameters, or what has their structure, with the weights of tiles among them.

    Args:
        params: Of the model.
        weights: Weights ``(out, in)`` of tiles by path, or what has their shape.
    """
    more = [((*path, _NAME), TileWeights(each)) for path, each in weights.items()]
    return nnx.from_flat_state([*nnx.to_flat_state(params), *more])


def without_weights(params: ModelState) -> tuple[ModelState, dict[Path, EachWeights]]:
    """Return what was put together by :func:`with_weights`.

    Args:
        params: Parameters with weights of tiles.
    """
    own, weights = [], {}
    for path, variable in nnx.to_flat_state(params):
        if isinstance(variable, TileWeights):
            weights[path[:-1]] = variable.get_value()
        else:
            own.append((path, variable))
    return nnx.from_flat_state(own), weights


def weights_of(tile: AnalogTile) -> EachWeights:
    """Return the weights ``(out, in)`` of an inference tile as an optimizer sees them.

    Logical weights without the learned output scale, which is a parameter of its own; with ``reference_quirks`` the
    analog ones. An analog bias is the last column; a stack has ``(tiles, out, in)``.

    Args:
        tile: The tile.
    """
    return one_tile.weights_of(tile.config.get_value(), tile.state.get_value())


def gradient_of(tile: AnalogTile, x: TileInput, d: Float[Array, "*n out"]) -> EachWeights:
    """Return the gradient ``(out, in)`` of a loss with respect to the weights of an inference tile.

    It is that at the weights which the products of training read, with their modifier. Converters pass it straight
    through: it belongs to inputs before and outputs behind them (spec: tile_ops, section 5). Of a product of the
    user's own it is the same sum of outer products, as in a plain update.

    Args:
        tile: The tile.
        x: Inputs ``(n, in)`` as they reached it; of a stack ``(tiles, n, in)``. Or images, whose patches they are.
        d: Gradients ``(n, out)`` at its output, before the learned scale; of a stack ``(tiles, n, out)``.

    Raises:
        NonFiniteError: If x or d has NaN or infinity (not checked inside a traced function).
    """
    x, d = checked_pair(x, d)
    config, state = tile.config.get_value(), tile.state.get_value()
    limit = None if tile.input_range is None else tile.input_range.get_value()

    def run(x: Float[Array, "*n in"], d: Float[Array, "*n out"]) -> EachWeights:
        own = state.mapping_scales, limit, x, d
        return each(tile.count, one_tile.weights_gradient, (tile.analog_bias,), (config,), own)

    def add(
        total: EachWeights, part: Int[Array, ""], x: Float[Array, "*n in"], d: Float[Array, "*n out"]
    ) -> EachWeights:
        return total + run(x, d)

    if isinstance(x, Patches) and x.parts > 1:
        return in_parts(add, jnp.zeros(state.weights.shape, jnp.float32), x, d)
    return run(all_rows(x), d)


def step_weights(tile: AnalogTile, change: EachWeights, key: Noise) -> None:
    """Change the weights of an inference tile.

    Args:
        tile: The tile.
        change: What to add to :func:`weights_of`, ``(out, in)``; of a stack ``(tiles, out, in)``.
        key: Source of a new modified copy, where one is drawn at once.

    Raises:
        ConfigError: If the tile was drawn with another configuration.
    """
    own = tile.checked_state(), jnp.asarray(change, jnp.float32), keys(random.as_noise(key), tile.count)
    tile.state.set_value(each(tile.count, one_tile.stepped, (), (tile.config.get_value(),), own))
