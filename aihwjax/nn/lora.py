"""The fully connected layer with a low-rank part beside its tiles."""

from __future__ import annotations

from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from aihwjax.nn.layer import Start, params_key
from aihwjax.nn.linear import AnalogLinear
from aihwjax.nn.unfolding import positive
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig


class AnalogLoRALinear(AnalogLinear):
    """A layer ``y = x W^T + b + x A B`` whose matrix W lies on analog tiles, with A and B digital.

    It is what ``flax.nnx.LoRALinear`` becomes. The low-rank part stays digital, because it is what changes when a model
    learns a new task: the tiles, programmed once, stay as they are.
    ``aihwjax.analog_sgd(0.0, digital=optax.adam(1e-3))`` trains A and B alone, through the noise of the tiles.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> layer = AnalogLoRALinear(16, 8, lora_rank=2, rngs=nnx.Rngs(0))
        >>> layer(jax.numpy.ones((5, 16)), key=jax.random.key(1)).shape, layer.lora.lora_a.shape
        ((5, 8), (16, 2))

    Args:
        in_features: Number of inputs.
        out_features: Number of outputs.
        bias: Whether there is a bias; ``config.mapping.digital_bias`` says where.
        lora_rank: Columns of A, rows of B; B starts at zero.
        config: The configuration of its tiles; ``None``: ``SingleRPUConfig()``.
        weights: First weights ``(out, in)`` and bias ``(out,)`` or ``None``; ``None``: drawn.
        dtype: Type of the outputs; ``None``: that of inputs and weights together, at most float32.
        param_dtype: Type of the weights, as far as outputs follow it; tiles hold float32.
        rngs: Source of devices and initial weights (stream ``params``).

    Raises:
        ConfigError: If an argument is not allowed.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        lora_rank: int,
        config: TileConfig | None = None,
        weights: Start | None = None,
        dtype: Any = None,
        param_dtype: Any = "float32",
        rngs: nnx.Rngs,
    ) -> None:
        (rank,) = positive("lora_rank", lora_rank, 1)
        super().__init__(
            in_features,
            out_features,
            bias,
            config=config,
            weights=weights,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.lora_rank = rank
        """Columns of A."""
        self.lora = nnx.LoRA(self.in_features, rank, self.out_features, rngs=nnx.Rngs(params=params_key(rngs)))
        """The low-rank part, with ``lora_a`` ``(in, rank)`` and ``lora_b`` ``(rank, out)``."""

    def __call__(
        self, x: Float[Array, "*batch in"], *, key: Noise | None = None, out_sharding: None = None
    ) -> Float[Array, "*batch out"]:
        """Apply the layer; see :meth:`AnalogLinear.__call__`.

        Args:
            x: Inputs ``(..., in)``, at least one axis.
            key: Source of the noise; equal keys give equal outputs.
            out_sharding: Not used; modules of Flax give it to their layers.

        Returns:
            Outputs ``(..., out)``, float32.
        """
        y = super().__call__(x, key=key)
        return y + self.lora(x)

    def describe(self) -> str:
        """Return the text."""
        return f"AnalogLoRALinear{super().describe().removeprefix('AnalogLinear')[:-1]}, lora_rank={self.lora_rank})"
