"""Samples of tiles that are updated with mini-batches of several sizes, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aihwjax import tile
from aihwjax.devices.device import Device
from aihwjax.physics.comparing import Values
from aihwjax.pulses import UpdateMode
from aihwjax.tile.config import TileConfig
from aihwjax.tile.state import TileState
from aihwjax.typing import Key

SHAPE = (3, 4)
"""Of a tile: few crosspoints, so that each is a sample of its own over many tiles."""
RATE = 0.02
"""Learning rate: some hundred pulses for the largest batch, which fill no device."""


def batch(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x ``(size, in)`` and d ``(size, out)`` of a batch size: drawn once, the same on every platform.

    Args:
        size: Number of vectors.
    """
    rng = np.random.default_rng(size)
    # with a part that all vectors share, else the mean change of a large batch is small beside its noise
    x = 0.4 + 0.4 * rng.uniform(-1, 1, (size, SHAPE[1]))
    d = np.array([0.4, -0.4, 0.2]) + 0.4 * rng.uniform(-1, 1, (size, SHAPE[0]))
    return x.astype(np.float32), d.astype(np.float32)


def start_weights() -> np.ndarray:
    """Return the weights ``(out, in)`` that every tile begins with."""
    return np.linspace(-0.3, 0.3, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE)


class Sampler:
    """Updates tiles of one device on one platform."""

    def __init__(self, device: Device, mode: UpdateMode, way: str, where: jax.Device, anew: bool) -> None:
        """Prepare; nothing is compiled yet.

        Args:
            device: The device.
            mode: Update mode.
            way: ``"map"``: tiles one after the other, as a program for a single tile; ``"vmap"``: side by side.
            where: On which device of JAX.
            anew: Whether each order of batch sizes has programs of its own, compiled in that order.
        """
        self.config = TileConfig(device=device, update_mode=mode)
        """Of the tiles; its numbers may be changed without compiling again."""
        self._way, self._where, self._anew = way, where, anew
        self._draw, self._step = self._programs()

    def sample(self, order: Sequence[int], tiles: int, key: Key) -> list[dict[str, Values]]:
        """Return what each of many fresh tiles holds after each mini-batch, ``(tiles, ...)`` by name.

        Only what changes is there: ``"weights"``, and numbers of the device by their path.

        Args:
            order: Sizes of the mini-batches, in the order in which their programs are compiled and called.
            tiles: How many.
            key: Source of all devices, pulses and noise.
        """
        draw, step = self._programs() if self._anew else (self._draw, self._step)
        with jax.default_device(self._where):
            keys = jax.random.split(jax.device_put(key, self._where), tiles)
            state, before = draw(self.config, keys)
            first = jax.device_get(before)
            found = []
            for number, size in enumerate(order):
                own = jax.vmap(lambda each, number=number: jax.random.fold_in(each, number + 1))(keys)
                state, shown = step(self.config, state, *batch(size), own)
                found.append(jax.device_get(shown))
        moving = {name for name in first for each in found if (each[name] != first[name]).any()}
        return [{name: each[name] for name in sorted(moving | {"weights"})} for each in found]

    def _programs(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return jax.jit(self._over(_drawn, (None, 0))), jax.jit(self._over(_step, (None, 0, None, None, 0)))

    def _over(self, function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        if self._way == "vmap":
            return jax.vmap(function, axes)

        def each(*arguments: Any) -> Any:
            own = [argument for argument, axis in zip(arguments, axes, strict=True) if axis == 0]

            def one(parts: list[Any]) -> Any:
                rest = iter(parts)
                return function(*(next(rest) if axis == 0 else a for a, axis in zip(arguments, axes, strict=True)))

            return lax.map(one, own)

        return each


def _drawn(config: TileConfig, key: Key) -> tuple[TileState, dict[str, jax.Array]]:
    state = tile.init(config, jax.random.fold_in(key, 0), SHAPE)
    state = tile.set_weights(config, state, jnp.asarray(start_weights()), jax.random.fold_in(key, 0))
    return state, _shown(config, state)


def _step(
    config: TileConfig, state: TileState, x: jax.Array, d: jax.Array, key: Key
) -> tuple[TileState, dict[str, jax.Array]]:
    """Update and do what follows every mini-batch, as training does."""
    state = tile.update(config, state, x, d, jnp.float32(RATE), jax.random.fold_in(key, 0))
    state = tile.end_of_batch(config, state, jax.random.fold_in(key, 1))
    return state, _shown(config, state)


def _shown(config: TileConfig, state: TileState) -> dict[str, jax.Array]:
    """Return the weights and all numbers of the state, by path."""
    kept = dataclasses.replace(state, weights=tile.get_weights(config, state))
    leaves = jax.tree_util.tree_leaves_with_path(kept)
    named = {jax.tree_util.keystr(path).removeprefix("."): leaf for path, leaf in leaves}
    return {name: leaf for name, leaf in named.items() if jnp.issubdtype(leaf.dtype, jnp.floating)}
