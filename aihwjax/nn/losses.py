"""Losses: as functions that give one number for each example, and as classes that give the mean."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from aihwjax import arguments
from aihwjax.errors import ConfigError, ShapeError


@arguments.answered
def nll_loss(log_probabilities: Float[Array, "n classes"], labels: Int[Array, " n"]) -> Float[Array, " n"]:
    """Negative log-likelihood of the right class, after a log-softmax.

    Args:
        log_probabilities: ``(n, classes)``.
        labels: Class of each example ``(n,)``, integers.

    Returns:
        Loss of each example ``(n,)``.

    Raises:
        ShapeError: If the shapes do not fit.
    """
    _check_classes("nll_loss", log_probabilities, labels)
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]


@arguments.answered
def cross_entropy_loss(
    logits: Float[Array, "n classes"], targets: Int[Array, " n"] | Num[Array, "n classes"]
) -> Float[Array, " n"]:
    """Cross entropy between targets and the softmax of the logits.

    Args:
        logits: ``(n, classes)``.
        targets: Class of each example ``(n,)``, integers, or probabilities ``(n, classes)``.

    Returns:
        Loss of each example ``(n,)``.

    Raises:
        ShapeError: If the shapes do not fit.
    """
    if jnp.ndim(targets) == 2:
        _check_equal("cross_entropy_loss", logits, targets)
        return -(targets * jax.nn.log_softmax(logits, axis=1)).sum(axis=1)
    _check_classes("cross_entropy_loss", logits, targets)
    return nll_loss(jax.nn.log_softmax(logits, axis=1), targets)


@arguments.answered
def mse_loss(predictions: Float[Array, " n *shape"], targets: Num[Array, " n *shape"]) -> Float[Array, " n"]:
    """Squared error, averaged over the features of an example.

    Args:
        predictions: ``(n, ...)``.
        targets: Of the same shape.

    Returns:
        Loss of each example ``(n,)``.

    Raises:
        ShapeError: If the shapes differ.
    """
    _check_equal("mse_loss", predictions, targets)
    return _per_example((predictions - targets) ** 2)


@arguments.answered
def bce_loss(probabilities: Float[Array, " n *shape"], targets: Num[Array, " n *shape"]) -> Float[Array, " n"]:
    """Binary cross entropy, averaged over the features of an example; logarithms end at -100.

    Args:
        probabilities: ``(n, ...)``, between 0 and 1.
        targets: Of the same shape, between 0 and 1.

    Returns:
        Loss of each example ``(n,)``.

    Raises:
        ShapeError: If the shapes differ.
    """
    _check_equal("bce_loss", probabilities, targets)
    return _per_example(-(targets * _log(probabilities) + (1 - targets) * _log(1 - probabilities)))


class _MeanLoss:
    """A loss as an object: called with predictions and targets it returns the mean over the examples."""

    @staticmethod
    def per_example(predictions: Float[Array, "n ..."], targets: Num[Array, "n ..."], /) -> Float[Array, " n"]:
        """Return the loss of each example ``(n,)``."""
        raise AssertionError

    def __call__(self, predictions: Float[Array, "n ..."], targets: Num[Array, "n ..."]) -> Float[Array, ""]:
        """Return the mean loss, one number."""
        return self.per_example(predictions, targets).mean()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@arguments.answering
class NLLLoss(_MeanLoss):
    """Mean of :func:`nll_loss`."""

    per_example = staticmethod(nll_loss)


@arguments.answering
class CrossEntropyLoss(_MeanLoss):
    """Mean of :func:`cross_entropy_loss`."""

    per_example = staticmethod(cross_entropy_loss)


@arguments.answering
class MSELoss(_MeanLoss):
    """Mean of :func:`mse_loss`."""

    per_example = staticmethod(mse_loss)


@arguments.answering
class BCELoss(_MeanLoss):
    """Mean of :func:`bce_loss`."""

    per_example = staticmethod(bce_loss)


class _PerExampleLoss(_MeanLoss):
    """What :func:`per_example` makes; equal for equal functions, so that programs are reused."""

    def __init__(self, function: Callable[..., jax.Array]) -> None:
        self.per_example = function  # type: ignore[method-assign]
        self.__name__ = f"per_example({getattr(function, '__name__', type(function).__name__)})"

    def __call__(self, predictions: Float[Array, "n ..."], targets: Num[Array, "n ..."]) -> Float[Array, ""]:
        losses = jnp.asarray(self.per_example(predictions, targets))
        if losses.shape != jnp.shape(predictions)[:1]:
            raise ShapeError(
                f"{self.__name__}: predictions {jnp.shape(predictions)} have a loss of shape {losses.shape}: "
                "give one number for each example, (n,)"
            )
        return losses.mean()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _PerExampleLoss) and self.per_example == other.per_example

    def __hash__(self) -> int:
        return hash(self.per_example)

    def __repr__(self) -> str:
        return self.__name__


@arguments.answered
def per_example(function: Callable[..., Float[Array, " n"]]) -> Callable[..., Float[Array, ""]]:
    """Make a loss of a function that gives the loss of each example by itself; also as a decorator.

    An experiment calls a loss of your own on whole batches, as it is. One that says with this function that
    it looks at each example alone is averaged over the examples: exactly over the whole validation set.

    Example:
        >>> import jax.numpy as jnp
        >>> @per_example
        ... def absolute(predictions, targets):
        ...     return jnp.abs(predictions - targets).sum(axis=1)
        >>> float(absolute(jnp.array([[1.0], [4.0]]), jnp.array([[0.0], [0.0]])))
        2.5

    Args:
        function: ``function(predictions (n, ...), targets (n, ...)) -> (n,)``, for instance one of optax's losses.

    Returns:
        A loss that is called with predictions and targets and returns the mean, one number. It raises
        :class:`ShapeError` if the function returns anything but ``(n,)``.

    Raises:
        ConfigError: If ``function`` is not callable.
    """
    if not callable(function):
        raise ConfigError(f"function={function!r} is not allowed: give a callable (predictions, targets) -> (n,)")
    return _PerExampleLoss(function)


def _per_example(values: jax.Array) -> jax.Array:
    return values.reshape(values.shape[0], -1).mean(axis=1)


def _log(p: jax.Array) -> jax.Array:
    """Return the logarithm, at least -100, with a gradient of 0 where it was cut (and none from log 0)."""
    lowest = 3.7200759760208e-44  # exp(-100)
    safe = p > lowest
    return jnp.where(safe, jnp.log(jnp.where(safe, p, 1.0)), -100.0)


def _check_classes(name: str, predictions: jax.Array, labels: jax.Array) -> None:
    n = jnp.shape(predictions)[0] if jnp.ndim(predictions) == 2 else None
    if n is None or jnp.shape(labels) != (n,) or not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise ShapeError(
            f"{name}: predictions {jnp.shape(predictions)} and labels {jnp.shape(labels)} of type "
            f"{jnp.result_type(labels)} do not fit: give (n, classes) and integers (n,)"
        )


def _check_equal(name: str, predictions: jax.Array, targets: jax.Array) -> None:
    if jnp.shape(predictions) != jnp.shape(targets) or jnp.ndim(predictions) < 1:
        column = jnp.ndim(targets) == 1 and jnp.shape(predictions) == (*jnp.shape(targets), 1)
        hint = ", such as targets[:, None]" if column else ""
        raise ShapeError(
            f"{name}: predictions {jnp.shape(predictions)} and targets {jnp.shape(targets)} do not fit: "
            f"give equal shapes (n, ...){hint}"
        )
