"""The modified copy of a tile's weights: when it is drawn, and what it is until then (spec: tile_ops, section 10)."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from aihwjax import arguments, random
from aihwjax.errors import ConfigError
from aihwjax.precision import in_single
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.frozen import REDRAW
from aihwjax.tile.state import TileState
from aihwjax.tile.upkeep.modifier import modified


@arguments.answered
@in_single
def modify(config: TileConfig, state: TileState, key: Noise) -> TileState:
    """Draw the modified copy of the weights that training reads, if configured; the weights stay.

    Args:
        config: The tile's configuration.
        state: The tile.
        key: Source of the noise.

    Raises:
        ConfigError: If the modifier was switched on after the tile was built, or the key is none.
    """
    key = random.as_noise(key)
    if not config.modifier.acts():
        return state
    if state.modified is None:
        raise ConfigError(
            f"modifier.type={config.modifier.type.name} is not allowed on this tile: "
            f"it needs a copy of the weights, so build the tile with it or {REDRAW}"
        )
    copy = modified(
        config.modifier,
        state.weights,
        random.stream(random.derive(key, "modify"), config.noise_engine),
        torch_tile=config.torch_tile,
        quirks=config.reference_quirks,
    )
    return dataclasses.replace(state, modified=copy)


def follow(config: TileConfig, old: TileState, new: TileState, key: Noise) -> TileState:
    """Return ``new``, whose weights something has changed, with the copy that belongs to them.

    The copy of changed weights is the weights themselves until the modifier draws the next one. The
    reference keeps a copy that it has once drawn (spec: tile_ops, trap 3). Its torch tile draws one
    for each product, which for one product a mini-batch is the same as drawing when weights change.

    Args:
        config: The tile's configuration.
        old: The tile before the change.
        new: The tile after the change, with the copy of before.
        key: Source of the change; what is drawn here is unrelated to it.
    """
    if old.modified is None:
        return new
    if config.torch_tile:
        return modify(config, new, random.derive(key, "changed"))
    copy = jnp.array(new.weights)  # a buffer of its own, so that a state can be donated
    if config.reference_quirks:
        drawn = jnp.any(old.modified != old.weights)
        copy = jnp.where(drawn, old.modified, copy)
    return dataclasses.replace(new, modified=copy)
