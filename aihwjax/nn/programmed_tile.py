"""What a tile module keeps when it is programmed as a chip, and the two steps, as functions of one tile."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax import random, showing
from aihwjax.errors import ConfigError
from aihwjax.inference import programming
from aihwjax.inference.chip import model_of
from aihwjax.random import Noise, NoiseEngine
from aihwjax.tile.config import TileConfig
from aihwjax.tile.state import TileState
from aihwjax.typing import Number, Weights


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TileChip(showing.Record):
    """What is known of a tile that was programmed; its weights as they are read now are those of the tile.

    Of a stack all arrays have the tiles as first axis.
    """

    exact: Weights
    """The weights that were programmed, ``(out, in)``."""
    programmed: Weights
    """The weights right after programming, from which every drift starts."""
    parameters: Any
    """What each device keeps for its drift, as the noise model wants it."""
    baseline: Float[Array, "*columns"] | None
    """Read-out right after programming; ``None`` without compensation."""
    alpha: Float[Array, "*columns"]
    """Factor of the compensation on the outputs, a scalar or ``(out,)``; 1 before the first drift."""
    devices: programming.Devices | None = None
    """The devices one by one, where the weights do not say enough: with defects, or bit slices."""


@jax.jit
def programmed(config: TileConfig, state: TileState, exact: Weights, key: Noise) -> tuple[TileState, TileChip]:
    """Return a tile whose weights were programmed as conductances, and what is to be kept.

    Args:
        config: The configuration, with a noise model.
        state: The tile.
        exact: What to program ``(out, in)``, as it is on the tile.
        key: Source of all draws.
    """
    source = random.stream(key, NoiseEngine.COUNTER)
    made = programming.programmed(config, model_of(config), exact, source.child("weights"))
    running = _running(state)
    baseline = programming.baseline(config, state.forward, exact, made.weights, running, source.child("baseline"))
    alpha = jnp.ones(() if baseline is None else baseline.shape, jnp.float32)
    chip = TileChip(
        exact=exact,
        programmed=made.weights,
        parameters=made.parameters,
        baseline=baseline,
        alpha=alpha,
        devices=made.devices,
    )
    return dataclasses.replace(state, weights=made.weights), chip


@jax.jit
def drifted(config: TileConfig, t: Number, state: TileState, chip: TileChip, key: Noise) -> tuple[TileState, TileChip]:
    """Return a tile as it is some time after programming, and its chip with the factor of the compensation.

    Args:
        config: The configuration, with a noise model.
        t: Seconds after programming.
        state: The tile.
        chip: What was kept.
        key: Source of read noise and of the noise of the read-out.
    """
    source = random.stream(key, NoiseEngine.COUNTER)
    kept = programming.Programmed(chip.programmed, chip.parameters, chip.devices)
    weights = programming.drifted(config, model_of(config), kept, t, source.child("weights"))
    if chip.baseline is not None:
        now = programming.readout(config, state.forward, weights, _running(state), source.child("readout"))
        chip = dataclasses.replace(chip, alpha=chip.baseline / now)
    return dataclasses.replace(state, weights=weights), chip


def checked_config(config: TileConfig, place: str) -> TileConfig:
    """Return a configuration that can be programmed.

    Args:
        config: The configuration of a tile.
        place: Path of the tile, for the error.

    Raises:
        ConfigError: If it has no noise model.
    """
    try:
        model_of(config)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}; or give noise_model= to aihwjax.program") from None
    return config


def _running(state: TileState) -> Float[Array, ""] | None:
    return None if state.running_abs_max is None else state.running_abs_max[0]
