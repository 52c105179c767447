"""The fully connected layer on analog tiles (spec: layers, section 2)."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from aihwjax.nn.layer import AnalogLayer, Start, params_key
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
        weights: First weights ``(out, in)`` and bias ``(out,)`` or ``None``; ``None``: drawn.
        dtype: Type of the outputs; ``None``: that of inputs and weights together, at most float32.
        param_dtype: Type of the weights, as far as outputs follow it; tiles hold float32.
        rngs: Source of devices and initial weights (stream ``params``).

    Raises:
        ConfigError: If an argument is unknown or missing, or a size, the configuration, ``weights`` or ``rngs`` not
            allowed.
        ShapeError: If ``weights`` do not fit.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        config: TileConfig | None = None,
        weights: Start | None = None,
        dtype: Any = None,
        param_dtype: Any = "float32",
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            bias,
            config=config,
            key=params_key(rngs),
            weights=weights,
            dtype=dtype,
            param_dtype=param_dtype,
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
        return self.typed(self.multiply(*self.checked(x, key)), x)

    def describe(self) -> str:
        """Return the text."""
        bias = "analog" if self.analog_bias else str(self.bias is not None)
        return f"AnalogLinear({self.in_features}, {self.out_features}, bias={bias}, {self._tiles_text()})"
