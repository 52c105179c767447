"""What stands between convolutions: the order of axes, and pooling."""

from __future__ import annotations

import itertools
import math
import operator

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Shaped

from aihwjax.errors import ShapeError
from aihwjax.nn.text import Readable
from aihwjax.nn.unfolding import Padding, Sizes, check_padding, positive
from aihwjax.tile.checks import as_numbers

# Windows of more numbers would take long to compile as slices
_MOST_SLICES = 16


class ChannelsLast(Readable):
    """Move the channels from behind the batch to the end: ``(n, channels, ...)`` to ``(n, ..., channels)``.

    Data sets have their channels first, convolutions take them last.
    """

    def __init__(self) -> None:
        pass

    def __call__(self, x: Shaped[Array, "n channels *space"]) -> Shaped[Array, "n *space channels"]:
        """Apply it."""
        if jnp.ndim(x) < 2:
            raise ShapeError(f"ChannelsLast: x has shape {jnp.shape(x)}: give (n, channels, ...)")
        return jnp.moveaxis(as_numbers("ChannelsLast: x", x), 1, -1)

    def describe(self) -> str:
        """Return the text."""
        return "ChannelsLast()"


class ChannelsFirst(Readable):
    """Move the channels from the end to behind the batch: ``(n, ..., channels)`` to ``(n, channels, ...)``.

    Before :class:`Flatten`, features are in the order channel, then place, as in libraries with the channels first.
    """

    def __init__(self) -> None:
        pass

    def __call__(self, x: Shaped[Array, "n *space channels"]) -> Shaped[Array, "n channels *space"]:
        """Apply it."""
        if jnp.ndim(x) < 2:
            raise ShapeError(f"ChannelsFirst: x has shape {jnp.shape(x)}: give (n, ..., channels)")
        return jnp.moveaxis(as_numbers("ChannelsFirst: x", x), -1, 1)

    def describe(self) -> str:
        """Return the text."""
        return "ChannelsFirst()"


class Reshape(Readable):
    """Give each example another shape: ``(n, ...)`` to ``(n, *shape)``, in the order of its numbers.

    An image of one channel becomes a sequence of its lines by ``Reshape((28, 28))``.

    Args:
        shape: Size of each axis but the first.

    Raises:
        ConfigError: If a size is not allowed.
    """

    def __init__(self, shape: Sizes) -> None:
        self.shape = positive("shape", shape)

    def __call__(self, x: Shaped[Array, "n ..."]) -> Shaped[Array, " n *shape"]:
        """Apply it."""
        given = jnp.shape(x)
        if not given or math.prod(given[1:]) != math.prod(self.shape):
            raise ShapeError(f"Reshape: x has shape {given}: give (n, ...) with {math.prod(self.shape)} numbers each")
        return jnp.reshape(as_numbers("Reshape: x", x), (given[0], *self.shape))

    def describe(self) -> str:
        """Return the text."""
        return f"Reshape({self.shape})"


class _Pool(Readable):
    """Base of pooling."""

    def __init__(self, window_shape: Sizes = (2, 2), strides: Sizes | None = None, padding: Padding = "VALID") -> None:
        self.window_shape = positive("window_shape", window_shape)
        axes = len(self.window_shape)
        self.strides = self.window_shape if strides is None else positive("strides", strides, axes)
        self.padding = check_padding(padding, axes, ("SAME", "VALID"))

    def _checked(self, x: Float[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
        name, axes = type(self).__name__, len(self.window_shape)
        if jnp.ndim(x) < axes + 1:
            raise ShapeError(f"{name}: x has shape {jnp.shape(x)}: give (..., {'size, ' * axes}channels)")
        return as_numbers(f"{name}: x", x)

    def describe(self) -> str:
        """Return the text."""
        text = "" if self.strides == self.window_shape else f", strides={self.strides}"
        text += "" if self.padding == "VALID" else f", padding={self.padding!r}"
        return f"{type(self).__name__}({self.window_shape}{text})"


class MaxPool(_Pool):
    """The largest number of each window, channel by channel; channels are the last axis.

    Args:
        window_shape: Size of the window along each spatial axis.
        strides: Steps between windows, for all axes or each; ``None``: the size of the window.
        padding: ``"VALID"``, ``"SAME"``, or a pair of numbers for each axis.

    Raises:
        ConfigError: If an argument is not allowed.
    """

    def __call__(self, x: Float[Array, "*batch channels"]) -> Float[Array, "*places channels"]:
        """Apply it."""
        x = self._checked(x)
        window, space = self.window_shape, jnp.shape(x)[1:-1]
        beside = self.strides == window and self.padding == "VALID" and math.prod(window) <= _MOST_SLICES
        if beside and len(space) == len(window) and all(map(operator.ge, space, window)):
            return _largest(x, window)
        return nnx.max_pool(x, self.window_shape, self.strides, self.padding)


class AvgPool(_Pool):
    """The mean of each window, channel by channel, zeros of the padding included; channels are the last axis.

    Args:
        window_shape: Size of the window along each spatial axis.
        strides: Steps between windows, for all axes or each; ``None``: the size of the window.
        padding: ``"VALID"``, ``"SAME"``, or a pair of numbers for each axis.

    Raises:
        ConfigError: If an argument is not allowed.
    """

    def __call__(self, x: Float[Array, "*batch channels"]) -> Float[Array, "*places channels"]:
        """Apply it."""
        return nnx.avg_pool(self._checked(x), self.window_shape, self.strides, self.padding)


def _largest(x: Float[Array, "n *space channels"], window: tuple[int, ...]) -> Float[Array, "n *places channels"]:
    """Return the largest number of windows that lie side by side.

    The same as ``nnx.max_pool``, whose derivative takes longer than a convolution on a CPU; of equal numbers the first
    gets all of it.
    """
    ends = [size // step * step for size, step in zip(x.shape[1:-1], window, strict=True)]
    largest = None
    for start in itertools.product(*map(range, window)):
        # where a window does not fit any more, there is none
        seen = lax.slice(x, (0, *start, 0), (x.shape[0], *ends, x.shape[-1]), (1, *window, 1))
        larger = None if largest is None else (seen > largest) | jnp.isnan(seen)
        largest = seen if larger is None else jnp.where(larger, seen, largest)
    assert largest is not None
    return largest
