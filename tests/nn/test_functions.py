"""Activations and losses against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf

from aihwjax.errors import ConfigError, ShapeError
from aihwjax.nn import activations, losses
from tests.nn.models import inputs

X = np.asarray(inputs(5, 3))
P = np.exp(X) / np.exp(X).sum(1, keepdims=True)

ACTIVATIONS = [
    (activations.Identity(), X),
    (activations.Sigmoid(), 1 / (1 + np.exp(-X))),
    (activations.Tanh(), np.tanh(X)),
    (activations.ReLU(), np.maximum(X, 0)),
    (activations.LeakyReLU(), np.where(X > 0, X, 0.01 * X)),
    (activations.LeakyReLU(0.3), np.where(X > 0, X, 0.3 * X)),
    (activations.GELU(), X * (1 + erf(X / np.sqrt(2))) / 2),
    (activations.LogSigmoid(), -np.log1p(np.exp(-X))),
    (activations.Softmax(dim=1), P),
    (activations.LogSoftmax(), np.log(P)),
    (activations.LogSoftmax(dim=0), X - np.log(np.exp(X).sum(0))),
    (activations.Function(jnp.sin), np.sin(X)),
]


@pytest.mark.parametrize(("module", "expected"), ACTIVATIONS, ids=lambda v: str(v) if isinstance(v, nnx.Module) else "")
def test_activation(module: Callable[[jax.Array], jax.Array], expected: np.ndarray) -> None:
    np.testing.assert_allclose(module(jnp.asarray(X)), expected, rtol=1e-4, atol=1e-6)


def test_flatten_keeps_the_first_axis() -> None:
    assert activations.Flatten()(jnp.ones((5, 2, 3, 4))).shape == (5, 24)
    assert activations.Flatten()(jnp.ones(5)).shape == (5, 1)


def test_a_function_must_be_callable() -> None:
    with pytest.raises(ConfigError, match="function=3 is not allowed: give a callable"):
        activations.Function(3)  # type: ignore[arg-type]


LABELS = np.asarray([0, 2, 1, 1, 0])
NLL = -np.log(P)[np.arange(5), LABELS]
TARGETS = np.asarray(jax.random.uniform(jax.random.key(0), (5, 3)))
BCE = -(TARGETS * np.log(P) + (1 - TARGETS) * np.log(1 - P)).mean(1)

LOSSES = [
    (losses.nll_loss, losses.NLLLoss(), np.log(P), LABELS, NLL),
    (losses.cross_entropy_loss, losses.CrossEntropyLoss(), X, LABELS, NLL),
    (losses.cross_entropy_loss, losses.CrossEntropyLoss(), X, np.eye(3)[LABELS], NLL),
    (losses.mse_loss, losses.MSELoss(), X, TARGETS, ((X - TARGETS) ** 2).mean(1)),
    (losses.bce_loss, losses.BCELoss(), P, TARGETS, BCE),
]


@pytest.mark.parametrize(("each", "mean", "predictions", "targets", "expected"), LOSSES)
def test_losses_give_one_number_for_each_example_and_their_classes_the_mean(
    each: Callable[..., jax.Array],
    mean: Callable[..., jax.Array],
    predictions: np.ndarray,
    targets: np.ndarray,
    expected: np.ndarray,
) -> None:
    predictions, targets = jnp.asarray(predictions), jnp.asarray(targets)
    np.testing.assert_allclose(each(predictions, targets), expected, rtol=1e-4)
    assert float(mean(predictions, targets)) == pytest.approx(expected.mean(), rel=1e-4)


def test_the_logarithm_of_the_binary_cross_entropy_ends_at_minus_100() -> None:
    predictions, targets = jnp.asarray([[0.0], [1.0], [1.0]]), jnp.asarray([[1.0], [0.0], [1.0]])
    np.testing.assert_allclose(losses.bce_loss(predictions, targets), [100.0, 100.0, 0.0])
    slopes = jax.grad(lambda p: losses.bce_loss(p, targets).sum())(predictions)
    assert bool(jnp.isfinite(slopes).all())


@pytest.mark.parametrize(
    ("loss", "predictions", "targets"),
    [
        (losses.nll_loss, X, LABELS[:4]),
        (losses.nll_loss, X, LABELS.astype(float)),
        (losses.nll_loss, X[0], LABELS),
        (losses.cross_entropy_loss, X, TARGETS[:, :2]),
        (losses.mse_loss, X, TARGETS[:, 0]),
        (losses.bce_loss, X[:, :1], TARGETS[:, 0]),
    ],
)
def test_shapes_that_do_not_fit(loss: Callable[..., jax.Array], predictions: np.ndarray, targets: np.ndarray) -> None:
    with pytest.raises(ShapeError, match=f"{loss.__name__}: predictions .* do not fit"):
        loss(jnp.asarray(predictions), jnp.asarray(targets))
