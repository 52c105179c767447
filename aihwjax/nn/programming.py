"""Models as chips: programming all their tiles, and what time does to them (spec: inference, section 10)."""

from __future__ import annotations

from typing import TypeVar

from flax import nnx

from aihwjax import arguments, random
from aihwjax.errors import ModuleError
from aihwjax.inference.chip import checked_time, model_of
from aihwjax.inference.compensation import DriftCompensation
from aihwjax.inference.defects import DefectParameter
from aihwjax.inference.noise.base import NoiseModel
from aihwjax.nn.paths import analog_tiles
from aihwjax.nn.programmed_tile import checked_config
from aihwjax.nn.tile import AnalogTile
from aihwjax.random import Noise
from aihwjax.typing import Number

_Model = TypeVar("_Model", bound=nnx.Module)


@arguments.answered
def program(
    model: _Model,
    key: Noise,
    *,
    noise_model: NoiseModel | None = None,
    drift_compensation: DriftCompensation | None = None,
    defects: DefectParameter | None = None,
) -> _Model:
    """Return a copy of a model whose tiles are programmed onto chips; the model itself stays as it is.

    The weights of each tile, with the column of an analog bias, become conductances with programming noise. Mapping
    scales, learned scales, digital biases and input ranges are digital and stay. A model that was programmed before is
    programmed anew from the exact weights, not from those of the chip.

    The result is evaluated as any model. It is not trained: train the model, and program it again.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> layer = aj.nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
        >>> chip = aj.program(layer, 0)
        >>> later = aj.drift(chip, 86400.0, 1)
        >>> later(jnp.ones((5, 4)), key=2).shape
        (5, 3)

    Args:
        model: Any NNX module with analog layers.
        key: Source of all draws.
        noise_model: In place of that of the configuration of each tile, for instance for a network that was trained
            with pulses; ``None``: that of the configuration.
        drift_compensation: In place of that of the configuration; ``None``: that of the configuration.
        defects: In place of those of the configuration; ``None``: those of the configuration.

    Raises:
        ModuleError: If the model has no analog layer.
        ConfigError: If a tile has no noise model, or the key is none.
        ShapeError: If a map of defects has another shape than the devices of a tile.
    """
    key = random.as_noise(key)
    copy = nnx.clone(model)
    for path, tile in tiles_of(copy).items():
        config = tile.config.get_value()
        changes = {"noise_model": noise_model, "drift_compensation": drift_compensation, "defects": defects}
        given = {name: value for name, value in changes.items() if value is not None}
        tile.config.exchange(checked_config(config.replace(given) if given else config, path))
        tile.program(random.derive(key, path))
    return copy


@arguments.answered
def drift(model: _Model, t: Number, key: Noise) -> _Model:
    """Return a copy of a programmed model as it is some time after programming; earlier drifts play no part.

    Read noise is drawn anew and stays in the weights until the next drift. Tiles with a compensation are read out, and
    their outputs get its factor: after mapping scale and input range, before the learned output scale and the digital
    bias.

    Args:
        model: From :func:`program`, or an earlier drift.
        t: Seconds after programming, one number of at least 0; it may be traced.
        key: Source of read noise and of the noise of the read-outs.

    Raises:
        ModuleError: If the model has no analog layer, or was not programmed.
        ConfigError: If the time is below 0, or the noise model of a tile says nothing of it.
    """
    key = random.as_noise(key)
    tiles = tiles_of(model)
    for path, tile in tiles.items():
        if tile.chip is None:
            raise ModuleError(f"{path} was not programmed: give what aihwjax.program returns")
        t = checked_time(model_of(tile.config.get_value()), t)
    copy = nnx.clone(model)
    for path, tile in tiles_of(copy).items():
        tile.drift(t, random.derive(key, path))
    return copy


def tiles_of(model: nnx.Module) -> dict[str, AnalogTile]:
    """Return the tiles of a model by path; see :func:`aihwjax.nn.analog_tiles`.

    Args:
        model: The model.

    Raises:
        ModuleError: If there is none.
    """
    tiles = analog_tiles(model) if isinstance(model, nnx.Module) else {}
    if not tiles:
        raise ModuleError(
            f"model={type(model).__name__} has no analog layer: give a model with one, such as AnalogLinear"
        )
    return tiles
