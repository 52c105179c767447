"""The fully connected layer over several axes on analog tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from aihwjax.errors import ConfigError
from aihwjax.nn.layer import AnalogLayer, Start, params_key
from aihwjax.nn.unfolding import Sizes, positive
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig


class AnalogLinearGeneral(AnalogLayer):
    """A fully connected layer from some axes of its input to others, whose matrix lies on analog tiles.

    The arguments are those of ``flax.nnx.LinearGeneral``; attention is made of such layers. The matrix on the tiles is
    ``(product of out_features, product of in_features)``.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> heads = AnalogLinearGeneral(16, (4, 8), rngs=nnx.Rngs(0))
        >>> joined = AnalogLinearGeneral((4, 8), 16, axis=(-2, -1), rngs=nnx.Rngs(1))
        >>> y = heads(jax.numpy.ones((2, 5, 16)), key=jax.random.key(1))
        >>> y.shape, joined(y, key=jax.random.key(2)).shape
        ((2, 5, 4, 8), (2, 5, 16))

    Args:
        in_features: Size of each axis that is summed over.
        out_features: Size of each axis that comes instead, at the end.
        axis: The axes that are summed over, one for each of ``in_features``, which are in the order of the input.
        use_bias: Whether there is a bias; ``config.mapping.digital_bias`` says where.
        config: Configuration of the tiles; ``None``: ``SingleRPUConfig()``.
        weights: First weights, as the matrix on the tiles, and bias, as one vector, or ``None``; ``None``: drawn.
        dtype: Type of the outputs; ``None``: that of inputs and weights together, at most float32.
        param_dtype: Type of the weights, as far as outputs follow it; tiles hold float32.
        rngs: Source of initial weights and of the devices.

    Raises:
        ConfigError: If an argument is not allowed.
    """

    def __init__(
        self,
        in_features: Sizes,
        out_features: Sizes,
        *,
        axis: int | Sequence[int] = -1,
        use_bias: bool = True,
        config: TileConfig | None = None,
        weights: Start | None = None,
        dtype: Any = None,
        param_dtype: Any = "float32",
        rngs: nnx.Rngs,
    ) -> None:
        inputs, outputs = positive("in_features", in_features), positive("out_features", out_features)
        axes: Any = (axis,) if isinstance(axis, int | np.integer) else axis
        whole = isinstance(axes, Sequence) and all(isinstance(n, int | np.integer) for n in axes)
        if not whole or isinstance(axes, str) or len(axes) != len(inputs):
            raise ConfigError(f"axis={axis!r} is not allowed: give {len(inputs)} of them, for in_features={inputs}")
        rows, columns = math.prod(outputs), math.prod(inputs)
        super().__init__(
            columns,
            rows,
            use_bias,
            config=config,
            key=params_key(rngs),
            weights=weights,
            dtype=dtype,
            param_dtype=param_dtype,
        )
        self.in_features = inputs  # type: ignore[assignment]
        """Size of each axis that is summed over."""
        self.out_features = outputs  # type: ignore[assignment]
        """Size of each axis that comes instead."""
        self.axis = tuple(int(n) for n in axes)
        """The axes that are summed over."""
        self.use_bias = bool(use_bias)
        """Whether there is a bias."""

    def __call__(
        self, x: Float[Array, "*shape"], *, key: Noise | None = None, out_sharding: None = None
    ) -> Float[Array, "*result"]:
        """Apply the layer.

        Args:
            x: Inputs with the axes of ``in_features`` where ``axis`` says.
            key: Source of the noise; equal keys give equal outputs.
            out_sharding: Not used; modules of Flax give it to their layers.

        Returns:
            Outputs, float32: the other axes of ``x`` in their order, then those of ``out_features``.

        Raises:
            ModuleError: If there is no key.
            ConfigError: If the key is none.
            DataError: If ``x`` is no array of real numbers.
            ShapeError: If the axes of ``x`` do not have the sizes of ``in_features``.
        """
        real, key = self.checked(x, key)
        last = range(real.ndim - len(self.axis), real.ndim)
        rows = jnp.moveaxis(real, self._axes(real.ndim), tuple(last))
        rest = rows.shape[: real.ndim - len(self.axis)]
        y = self.multiply(rows.reshape(*rest, self.columns), key)
        return self.typed(y.reshape(*rest, *self.out_features), x)  # type: ignore[misc]

    def _fits(self, shape: tuple[int, ...]) -> bool:
        sizes: Any = self.in_features
        axes = self._axes(len(shape))
        inside = all(0 <= n < len(shape) for n in axes) and len(set(axes)) == len(axes)
        return inside and tuple(shape[n] for n in axes) == sizes

    def _axes(self, count: int) -> list[int]:
        return sorted(n + count if n < 0 else n for n in self.axis)

    def _wanted(self) -> str:
        return f"axes {self.axis} of sizes {self.in_features}"

    def describe(self) -> str:
        """Return the text."""
        bias = "analog" if self.analog_bias else str(self.bias is not None)
        axis = "" if self.axis == (-1,) else f", axis={self.axis}"
        sizes = f"{self.in_features}, {self.out_features}{axis}"
        return f"AnalogLinearGeneral({sizes}, use_bias={bias}, {self._tiles_text()})"
