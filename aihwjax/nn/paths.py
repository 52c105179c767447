"""Finding analog layers and tiles in any NNX model, by path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flax import nnx

from aihwjax import arguments, random
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.tile import AnalogTile
from aihwjax.random import Noise, NoiseEngine
from aihwjax.tile.config import TileConfig


def path_text(path: Iterable[object]) -> str:
    """Return a path as text, such as ``layers/1/tiles/0``; the model itself is ``model``."""
    return "/".join(str(part) for part in path) or "model"


@arguments.answered
def analog_tiles(model: nnx.Module) -> dict[str, AnalogTile]:
    """Return all tiles of a model by path, in the model's order; a shared tile appears once.

    Args:
        model: Any NNX module.
    """
    return {path_text(path): part for path, part in nnx.iter_modules(model) if isinstance(part, AnalogTile)}


@arguments.answered
def analog_layers(model: nnx.Module) -> dict[str, AnalogLayer]:
    """Return all layers with a matrix on tiles by path, in the model's order; a shared layer appears once.

    Args:
        model: Any NNX module.
    """
    return {path_text(path): part for path, part in nnx.iter_modules(model) if isinstance(part, AnalogLayer)}


@arguments.answered
def redraw(model: nnx.Module, config: TileConfig | Mapping[str, Any] | None = None, *, key: Noise) -> None:
    """Draw the devices of all tiles of a model anew and keep its weights, in place.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from aihwjax import nn
        >>> model = nn.AnalogSequential(nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0)), nn.LogSoftmax())
        >>> nn.redraw(model, {"device.dw_min": 0.01}, key=jax.random.key(1))

    Args:
        model: Any NNX module.
        config: The configuration of all tiles from now on, or new values by dotted path; ``None``: the present ones.
        key: Source of all draws.

    Raises:
        ConfigError: If the change is not allowed, or needs another layout of a layer.
    """
    for path, tile in analog_tiles(model).items():
        tile.redraw(config, key=random.derive(key, path))


def noise_engine(model: nnx.Module) -> NoiseEngine:
    """Return the engine that can serve a whole model: the cheap one only if no tile asks for the other.

    Args:
        model: Any NNX module.
    """
    engines = {tile.config.get_value().noise_engine for tile in analog_tiles(model).values()}
    return NoiseEngine.THREEFRY if NoiseEngine.THREEFRY in engines else NoiseEngine.COUNTER
