"""Transposed convolutions on analog tiles."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from aihwjax.nn.conv import Convolving
from aihwjax.nn.layer import Start
from aihwjax.nn.patches import PATCH_MEMORY
from aihwjax.nn.unfolding import Padding, Sizes, Window, check_padding, positive
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig


class AnalogConvTranspose(Convolving):
    """A transposed convolution whose kernel lies on analog tiles; channels are the last axis.

    The arguments are those of ``flax.nnx.ConvTranspose``. Zeros between the lines of the image, ``strides - 1`` of
    them, are what the strides mean; the kernel then moves over it by single steps, as in :class:`AnalogConv`.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> layer = AnalogConvTranspose(8, 4, (3, 3), strides=(2, 2), rngs=nnx.Rngs(0))
        >>> layer(jax.numpy.ones((2, 7, 7, 8)), key=jax.random.key(1)).shape
        (2, 14, 14, 4)

    Args:
        in_features: Number of input channels.
        out_features: Number of output channels.
        kernel_size: Elements of the kernel along each spatial axis; one number: one axis.
        strides: Steps between the inputs on the output, for all axes or each.
        padding: ``"SAME"``, ``"VALID"`` or ``"CIRCULAR"``; or numbers of zeros around the widened image: one for all
            sides, one for each axis, or a pair for each.
        kernel_dilation: Distance between the elements of the kernel, for all axes or each.
        use_bias: Whether there is a bias; ``config.mapping.digital_bias`` says where.
        config: Configuration of the tiles; ``None``: ``SingleRPUConfig()``.
        weights: First weights, as the matrix on the tiles, and bias ``(out,)`` or ``None``; ``None``: drawn.
        dtype: Type of the outputs; ``None``: that of inputs and weights together, at most float32.
        param_dtype: Type of the weights, as far as outputs follow it; tiles hold float32.
        rngs: Source of initial weights and of the devices.
        patch_memory: Most bytes that patches take at a time; see :class:`AnalogConv`.

    Raises:
        ConfigError: If an argument is not allowed.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sizes,
        strides: Sizes | None = None,
        *,
        padding: Padding = "SAME",
        kernel_dilation: Sizes | None = None,
        use_bias: bool = True,
        config: TileConfig | None = None,
        weights: Start | None = None,
        dtype: Any = None,
        param_dtype: Any = "float32",
        rngs: nnx.Rngs,
        patch_memory: int = PATCH_MEMORY,
    ) -> None:
        axes = len(positive("kernel_size", kernel_size, self.spatial))
        self.strides = positive("strides", strides, axes)
        """Steps between the inputs along each spatial axis."""
        self.padding = check_padding(padding, axes, ("SAME", "VALID", "CIRCULAR"))
        """A word, or a pair of numbers of zeros for each spatial axis."""
        self.kernel_dilation = positive("kernel_dilation", kernel_dilation, axes)
        """Distance between the elements of the kernel along each spatial axis."""
        sizes = in_features, out_features, kernel_size, 1
        self._start(*sizes, use_bias, config, weights, dtype, param_dtype, rngs, patch_memory)

    def __call__(
        self, x: Float[Array, "*batch channels"], *, key: Noise | None = None
    ) -> Float[Array, "*places features"]:
        """Apply the layer.

        Args:
            x: Images ``(..., space, in)``: any number of batch axes, also none, the spatial axes, the channels.
            key: Source of the noise; equal keys give equal outputs.

        Returns:
            Images ``(..., space, out)``, float32.

        Raises:
            ModuleError: If there is no key.
            ConfigError: If the key is none.
            DataError: If ``x`` is no array of real numbers.
            ShapeError: If the last axis of ``x`` is not ``in_features``, or the kernel does not fit on the image.
        """
        real, key = self.checked(x, key)
        images, batch = self._images(real)
        y = self._over(images, key)
        if self.padding == "CIRCULAR":
            y = _wrapped(y, [size * step for size, step in zip(images.shape[1:-1], self.strides, strict=True)])
        y = self.finished(y)
        return self.typed(y.reshape(*batch, *y.shape[1:]), x)

    def _movement(self) -> tuple[Window, str | tuple[tuple[int, int], ...], tuple[int, ...]]:
        window = Window(self.kernel_size, (1,) * len(self.kernel_size), self.kernel_dilation)
        return window, tuple(self._pads(window)), self.strides

    def _pads(self, window: Window) -> list[tuple[int, int]]:
        """Return the zeros before and behind the widened image, as ``jax.lax.conv_transpose`` counts them."""
        if isinstance(self.padding, tuple):
            return list(self.padding)
        pads = []
        for reach, step in zip(window.reach, self.strides, strict=True):
            if self.padding == "SAME":
                both = reach + step - 2
                first = reach - 1 if step > reach - 1 else math.ceil(both / 2)
            else:
                both, first = reach + step - 2 + max(reach - step, 0), reach - 1
            pads.append((first, both - first))
        return pads

    def _moves(self) -> str:
        text = "" if max(self.strides) == 1 else f", strides={self.strides}"
        text += "" if self.padding == "SAME" else f", padding={self.padding!r}"
        return text + ("" if max(self.kernel_dilation) == 1 else f", kernel_dilation={self.kernel_dilation}")


def _wrapped(y: Float[Array, "n *space features"], periods: list[int]) -> Float[Array, "n *periods features"]:
    """Add up what lies a whole period apart; the first line of the image stays in its place (Flax's convention)."""
    lacking = [-(size - period) % (2 * period) for size, period in zip(y.shape[1:-1], periods, strict=True)]
    y = jnp.pad(y, [(0, 0), *(((n + 1) // 2, n // 2) for n in lacking), (0, 0)])
    for axis, period in enumerate(periods, 1):
        y = y.reshape(*y.shape[:axis], -1, period, *y.shape[axis + 1 :]).sum(axis=axis)
    return y
