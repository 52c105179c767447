"""Activations and reshaping as modules, under their usual names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from aihwjax.errors import ConfigError, ShapeError
from aihwjax.nn.text import Readable
from aihwjax.tile.checks import as_numbers


class _Activation(Readable):
    """A function of real numbers, without parameters."""

    def __init__(self) -> None:
        pass

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__call__" in vars(cls):
            cls.__call__ = _of_numbers(cls.__call__)  # type: ignore[assignment, method-assign]


def _of_numbers(call: Callable[[Any, jax.Array], jax.Array]) -> Callable[[Any, jax.Array], jax.Array]:
    """Return a call that refuses what is no array of real numbers."""

    @functools.wraps(call)
    def checked(self: Any, x: jax.Array) -> jax.Array:
        return call(self, as_numbers(f"{type(self).__name__}: x", x))

    return checked


class Flatten(_Activation):
    """Join all axes but the first: ``(n, ...)`` to ``(n, features)``."""

    def __call__(self, x: Shaped[Array, "n ..."]) -> Shaped[Array, "n features"]:
        """Apply it."""
        if jnp.ndim(x) < 1:
            raise ShapeError(f"Flatten: x has shape {jnp.shape(x)}: give (n, ...)")
        return jnp.reshape(x, (x.shape[0], -1))


class Identity(Readable):
    """Return the input as it is."""

    def __init__(self) -> None:
        pass

    def __call__(self, x: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
        """Apply it."""
        return x


class Sigmoid(_Activation):
    """The logistic function, ``1 / (1 + exp(-x))``."""

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply it to each element."""
        return jax.nn.sigmoid(x)


class Tanh(_Activation):
    """The hyperbolic tangent."""

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply it to each element."""
        return jnp.tanh(x)


class ReLU(_Activation):
    """The positive part, ``max(x, 0)``."""

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply it to each element."""
        return jax.nn.relu(x)


class LeakyReLU(_Activation):
    """``x`` above zero, ``negative_slope * x`` below.

    Args:
        negative_slope: Slope below zero.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply it to each element."""
        return jax.nn.leaky_relu(x, self.negative_slope)

    def describe(self) -> str:
        """Return the text."""
        return f"LeakyReLU(negative_slope={self.negative_slope})"


class GELU(_Activation):
    """``x`` times the probability that a standard normal is below ``x``."""

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply it to each element."""
        return jax.nn.gelu(x, approximate=False)


class LogSigmoid(_Activation):
    """The logarithm of the logistic function."""

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply it to each element."""
        return jax.nn.log_sigmoid(x)


class _AlongAxis(_Activation):
    """A function along one axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def describe(self) -> str:
        """Return the text."""
        return f"{type(self).__name__}(dim={self.dim})"


class Softmax(_AlongAxis):
    """Probabilities along an axis: exponentials divided by their sum.

    Args:
        dim: The axis of the classes.
    """

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply it."""
        return jax.nn.softmax(x, axis=self.dim)


class LogSoftmax(_AlongAxis):
    """Logarithms of the probabilities along an axis.

    Args:
        dim: The axis of the classes.
    """

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply it."""
        return jax.nn.log_softmax(x, axis=self.dim)


class Function(Readable):
    """Any function of one array as a module, such as ``jnp.sin``.

    Args:
        function: What to apply.

    Raises:
        ConfigError: If it is not callable.
    """

    def __init__(self, function: Callable[[jax.Array], jax.Array]) -> None:
        if not callable(function):
            raise ConfigError(f"function={function!r} is not allowed: give a callable")
        self.function = nnx.static(function)

    def __call__(self, x: Shaped[Array, " ..."]) -> Shaped[Array, " ..."]:
        """Apply it."""
        return self.function(x)

    def describe(self) -> str:
        """Return the text."""
        return f"Function({getattr(self.function, '__name__', self.function)})"
