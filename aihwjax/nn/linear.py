"""The fully connected layer on analog tiles (spec: layers, section 2)."""

from __future__ import annotations

import math

import jax
from flax import nnx
from jaxtyping import Array, Float

from aihwjax import random
from aihwjax.nn.layer import AnalogLayer, params_key
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig


class AnalogLinear(AnalogLayer):
    """A fully connected layer ``y = x W^T + b`` whose matrix lies on analog tiles.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> layer = AnalogLinear(784, 256, rngs=nnx.Rngs(0))
        >>> layer(jax.numpy.ones((64, 784)), key=jax.random.key(1)).shape
        (64, 256)

    Weights and bias start uniform within one over the square root of ``in_features``, as logical
    values; what a device cannot hold is clipped.

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
        bias: Whether there is a bias; ``config.mapping.digital_bias`` says where.
        config: The configuration of its tiles; ``None``: ``SingleRPUConfig()``.
        rngs: Source of devices and initial weights (stream ``params``).

    Raises:
        ConfigError: If an argument is unknown or missing, or a size, the configuration or ``rngs`` not allowed.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        config: TileConfig | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        key = params_key(rngs)
        super().__init__(in_features, out_features, bias, config=config, key=key)
        limit = 1 / math.sqrt(in_features)

        def uniform(name: str, shape: tuple[int, ...]) -> jax.Array:
            return random.uniform(random.fold(key, name), shape, -limit, limit)

        self.set_weights(
            uniform("weights", (out_features, in_features)),
            uniform("bias", (out_features,)) if bias else None,
            key=random.fold(key, "write"),
            check_finite=False,
        )

    def __call__(
        self, x: Float[Array, "*batch in"], *, key: Noise | None = None, out_sharding: None = None
    ) -> Float[Array, "*batch out"]:
        """Apply the layer.

        Args:
            x: Inputs ``(..., in)``, at least one axis.
            key: Source of the noise; equal keys give equal outputs.
            out_sharding: Not used; modules of Flax give it to their layers.

        Returns:
            Outputs ``(..., out)``, float32.

        Raises:
            ModuleError: If there is no key.
            ConfigError: If the key is none.
            DataError: If ``x`` is no array of real numbers.
            ShapeError: If the last axis of ``x`` is not ``in_features``.
        """
        return self.multiply(*self.checked(x, key))

    def describe(self) -> str:
        """Return the text."""
        bias = "analog" if self.analog_bias else str(self.bias is not None)
        return f"AnalogLinear({self.in_features}, {self.out_features}, bias={bias}, {self._tiles_text()})"
