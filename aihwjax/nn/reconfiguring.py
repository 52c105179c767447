"""Another configuration for all tiles of a model, as a pure function: what sweeps over numbers are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from flax import nnx

from aihwjax import arguments, random
from aihwjax.nn.changes import changed
from aihwjax.nn.programming import tiles_of
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig

_Model = TypeVar("_Model", bound=nnx.Module)


@arguments.answered
def with_config(model: _Model, config: TileConfig | Mapping[str, Any], *, key: Noise | None = None) -> _Model:
    """Return a copy of a model whose tiles have another configuration and the same weights; the model stays as it is.

    Numbers may be traced: under ``jax.vmap`` over arrays of them many configurations are one compiled call, and a
    result can be differentiated with respect to them. A feature that is off in the model and swept here is in the
    program for all values, 0 included.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> model = aj.nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
        >>> def outputs(values):
        ...     return with_config(model, values)(jnp.ones((5, 4)), key=jax.random.key(0))
        >>> swept = {"forward.out_noise": jnp.array([0.0, 0.1, 0.2]), "forward.inp_noise": jnp.zeros(3)}
        >>> jax.vmap(outputs)(swept).shape
        (3, 5, 3)

    Args:
        model: Any NNX module with analog layers.
        config: New values by dotted path, which every tile has to have; or the configuration of all tiles.
        key: With a key, devices and what is fixed of the converters are drawn anew, so that numbers which are fixed
            when a tile is drawn (``forward.out_nonlinearity``, ``device.dw_min``) can be others, too; weights are
            clipped to what new devices hold, and a chip becomes the model that was programmed. ``None``: all that was
            drawn stays, and only numbers that act at once can be others.

    Raises:
        ModuleError: If the model has no analog layer.
        ConfigError: If a path does not exist (with the nearest name), a value is not allowed, the layout of a layer
            would be another one, or something is fixed and there is no key.
    """
    noise = None if key is None else random.as_noise(key)
    tiles_of(model)
    copy = nnx.clone(model)
    for path, tile in tiles_of(copy).items():
        if noise is None:
            tile.config.set_value(changed(tile.config.get_value(), config))
        else:
            tile.redraw(config, key=random.derive(noise, path))
    return copy
