"""What a figure of a chip is about: a noise model, a configuration with one, or the name of either."""

from __future__ import annotations

from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from aihwjax.config import registered
from aihwjax.errors import ConfigError, ShapeError, nearest
from aihwjax.inference import noise
from aihwjax.inference.chip import model_of
from aihwjax.inference.noise.base import NoiseModel
from aihwjax.tile.checks import as_numbers, require_finite
from aihwjax.tile.config import InferenceRPUConfig, TileConfig
from aihwjax.typing import Weights

ChipSubject: TypeAlias = NoiseModel | TileConfig | str
"""A noise model, the configuration of tiles with one, or a name: of a preset such as ``"StandardHWATrainingPreset"``
or of a class of noise models such as ``"HermesNoiseModel"``."""

NOISE_MODELS = tuple(name for name in noise.__all__ if name.endswith("NoiseModel") and name != "NoiseModel")
"""Classes of noise models."""

ROWS, COLUMNS = 64, 256
"""Size of the tile that is programmed by default: its outputs and inputs."""


def chip_config(subject: ChipSubject) -> TileConfig:
    """Return the configuration of the tiles that become chips.

    Args:
        subject: A noise model gets an inference tile with defaults, a name is looked up among presets and noise models.

    Raises:
        ConfigError: If there is no such name (with the nearest one), or it has no noise model.
    """
    given: object = _named(subject) if isinstance(subject, str) else subject
    if isinstance(given, NoiseModel):
        return InferenceRPUConfig(noise_model=given)
    if isinstance(given, TileConfig):
        model_of(given)
        return given
    text = repr(subject) if isinstance(subject, str) else type(subject).__name__
    raise ConfigError(
        f"subject={text} is not allowed: give a noise model, a tile configuration with one, or the name of either"
    )


def _named(name: str) -> object:
    from aihwjax import presets

    if name in NOISE_MODELS:
        return registered(name)()
    if name not in presets.names():
        raise ConfigError(
            f"there is no preset or noise model {name!r}{nearest(name, [*presets.names(), *NOISE_MODELS])}"
        )
    return presets.by_name(name)()


def chip_name(subject: ChipSubject) -> str:
    """Return what a figure calls a subject: the preset's name, else the class of the noise model."""
    if isinstance(subject, str):
        return subject
    return type(subject.noise_model if isinstance(subject, TileConfig) else subject).__name__


def weights_to_program(weights: ArrayLike | None) -> Weights:
    """Return the weights ``(out, in)`` of a tile: those given, or evenly spaced ones from -1 to 1.

    Args:
        weights: A matrix, or ``None``.

    Raises:
        ShapeError: If they are no matrix.
        NonFiniteError: If one is NaN or infinite.
    """
    if weights is None:
        return jnp.linspace(-1.0, 1.0, ROWS * COLUMNS, dtype=jnp.float32).reshape(COLUMNS, ROWS).T
    array = as_numbers("weights", np.asarray(weights))
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(f"weights has shape {array.shape}: give a matrix (out, in)")
    require_finite("weights", array)
    return jnp.asarray(array, jnp.float32)
