"""Convolutions on analog tiles (spec: layers, section 3)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Float

from aihwjax.errors import ConfigError, ShapeError
from aihwjax.nn.layer import AnalogLayer, Start, params_key
from aihwjax.nn.patches import PATCH_MEMORY, Patches, View
from aihwjax.nn.unfolding import Padding, Sizes, Window, check_padding, positive
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig


class Convolving(AnalogLayer):
    """Base of convolutions: a matrix ``(out, columns)`` that is multiplied by patches of an image.

    The columns are in the order channel, then element of the kernel, last axis fastest.
    """

    spatial: ClassVar[int | None] = None
    """Number of spatial axes; ``None``: as many as the kernel has."""

    def _start(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sizes,
        groups: int,
        use_bias: bool,
        config: TileConfig | None,
        weights: Start | None,
        dtype: Any,
        param_dtype: Any,
        rngs: nnx.Rngs,
        patch_memory: int,
    ) -> None:
        """Check the sizes and lay out the tiles."""
        kind = type(self).__name__
        kernel = positive("kernel_size", kernel_size, self.spatial)
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            positive(name, size, 1)
        (groups,) = positive("feature_group_count", groups, 1)
        (self.patch_memory,) = positive("patch_memory", patch_memory, 1)
        """Most bytes of the patches that are made at a time."""
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if size % groups:
                raise ConfigError(f"{kind}: feature_group_count={groups} does not divide {name}={size}")
        columns = in_features // groups * math.prod(kernel)
        super().__init__(
            in_features,
            out_features,
            use_bias,
            config=config,
            key=params_key(rngs),
            columns=columns,
            groups=groups,
            weights=weights,
            dtype=dtype,
            param_dtype=param_dtype,
        )
        self.kernel_size = kernel
        """Elements of the kernel along each spatial axis."""
        self.use_bias = bool(use_bias)
        """Whether there is a bias."""

    def _images(self, x: Float[Array, "*batch channels"]) -> tuple[Float[Array, "n *space channels"], tuple[int, ...]]:
        """Return the images ``(n, ..., channels)`` and the shape of their batch."""
        axes = len(self.kernel_size)
        if x.ndim < axes + 1:
            raise ShapeError(f"{self._name()}: x has shape {x.shape}, give (..., {'size, ' * axes}{self.in_features})")
        batch = x.shape[: x.ndim - axes - 1]
        return x.reshape(math.prod(batch), *x.shape[len(batch) :]), batch

    def _over(self, images: Float[Array, "n *space channels"], key: Noise) -> Float[Array, "n *places features"]:
        """Return the product of the matrix with each patch of images, without the bias."""
        seen = [Patches(images, view) for view in self.views()]
        try:
            places = seen[0].places
        except ShapeError as error:
            raise ShapeError(f"{self._name()}: {error}") from None
        images = self.marked(self.watched(images), seen[0].length, key)
        y = self.product_of([dataclasses.replace(each, images=images) for each in seen], key)
        return y.reshape(images.shape[0], *places, self.out_features)

    def views(self) -> list[View]:
        """Return how each of the tile modules sees an image."""
        window, padding, widening = self._movement()
        stacks = range(len(self.tiles))
        return [View(window, padding, widening, self.grid, stack, self.patch_memory) for stack in stacks]

    def _movement(self) -> tuple[Window, str | tuple[tuple[int, int], ...], tuple[int, ...]]:
        """Return how the kernel moves, the padding, and the distance between the lines of an image."""
        raise AssertionError

    def describe(self) -> str:
        """Return the text."""
        bias = "analog" if self.analog_bias else str(self.bias is not None)
        sizes = f"{self.in_features}, {self.out_features}, kernel_size={self.kernel_size}"
        return f"{type(self).__name__}({sizes}{self._moves()}, use_bias={bias}, {self._tiles_text()})"

    def _moves(self) -> str:
        """Return what of the movement of the kernel is not the default, as text."""
        raise AssertionError


class AnalogConv(Convolving):
    """A convolution over any number of spatial axes whose kernel lies on analog tiles; channels are the last axis.

    The arguments are those of ``flax.nnx.Conv``. The matrix on the tiles is ``(out, in / groups * elements)``, in
    the order channel, then element of the kernel; each place of the image is one analog product of it with the patch
    that the kernel sees there, with noise management and converters of its own. Groups have tiles of their own.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> layer = AnalogConv(1, 16, (5, 5), padding="VALID", rngs=nnx.Rngs(0))
        >>> layer(jax.numpy.ones((8, 28, 28, 1)), key=jax.random.key(1)).shape
        (8, 24, 24, 16)

    Weights and bias start uniform within one over the square root of the number of columns, as logical values.

    Args:
        in_features: Number of input channels.
        out_features: Number of output channels.
        kernel_size: Elements of the kernel along each spatial axis; one number: one axis.
        strides: Steps between outputs, for all axes or each.
        padding: ``"SAME"``, ``"VALID"``, ``"CIRCULAR"``, ``"REFLECT"``, ``"CAUSAL"`` (one axis), ``"SAME_LOWER"``; or
            numbers of zeros: one for all sides, one for each axis, or a pair for each.
        kernel_dilation: Distance between the elements of the kernel, for all axes or each.
        feature_group_count: Number of groups; divides both numbers of channels.
        use_bias: Whether there is a bias; ``config.mapping.digital_bias`` says where.
        config: Configuration of the tiles; ``None``: ``SingleRPUConfig()``.
        weights: First weights, as the matrix on the tiles, and bias ``(out,)`` or ``None``; ``None``: drawn.
        dtype: Type of the outputs; ``None``: that of inputs and weights together, at most float32.
        param_dtype: Type of the weights, as far as outputs follow it; tiles hold float32.
        rngs: Source of initial weights and of the devices.
        patch_memory: Most bytes that patches take at a time, in a product or an update (256 MiB): images beyond are
            unfolded some after the others. Those of one image are always made, and all of them where a running average
            goes from vector to vector, or a compound counts mini-batches.

    Raises:
        ConfigError: If an argument is not allowed.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sizes,
        strides: Sizes | None = 1,
        *,
        padding: Padding = "SAME",
        kernel_dilation: Sizes | None = 1,
        feature_group_count: int = 1,
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
        """Steps between outputs along each spatial axis."""
        self.padding = check_padding(padding, axes)
        """A word, or a pair of numbers of zeros for each spatial axis."""
        self.kernel_dilation = positive("kernel_dilation", kernel_dilation, axes)
        """Distance between the elements of the kernel along each spatial axis."""
        self.feature_group_count = feature_group_count
        """Number of groups."""
        sizes = in_features, out_features, kernel_size, feature_group_count
        self._start(*sizes, use_bias, config, weights, dtype, param_dtype, rngs, patch_memory)

    def __call__(
        self, x: Float[Array, "*batch channels"], *, key: Noise | None = None, out_sharding: None = None
    ) -> Float[Array, "*places features"]:
        """Apply the layer.

        Args:
            x: Images ``(..., space, in)``: any number of batch axes, also none, the spatial axes, the channels.
            key: Source of the noise; equal keys give equal outputs.
            out_sharding: Not used; modules of Flax give it to their layers.

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
        y = self.finished(self._over(images, key))
        return self.typed(y.reshape(*batch, *y.shape[1:]), x)

    def _movement(self) -> tuple[Window, str | tuple[tuple[int, int], ...], tuple[int, ...]]:
        return Window(self.kernel_size, self.strides, self.kernel_dilation), self.padding, (1,) * len(self.kernel_size)

    def _moves(self) -> str:
        text = "" if max(self.strides) == 1 else f", strides={self.strides}"
        text += "" if self.padding == "SAME" else f", padding={self.padding!r}"
        text += "" if max(self.kernel_dilation) == 1 else f", kernel_dilation={self.kernel_dilation}"
        return text + ("" if self.groups == 1 else f", feature_group_count={self.groups}")


class AnalogConv1d(AnalogConv):
    """:class:`AnalogConv` with one spatial axis; one number as ``kernel_size`` is enough."""

    spatial = 1


class AnalogConv2d(AnalogConv):
    """:class:`AnalogConv` with two spatial axes; one number as ``kernel_size`` is for both."""

    spatial = 2


class AnalogConv3d(AnalogConv):
    """:class:`AnalogConv` with three spatial axes; one number as ``kernel_size`` is for all."""

    spatial = 3
