"""The gradient a micro-batch at a time equals that of one batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn, optim
from aihwjax.errors import ModuleError
from tests.nn.models import exact, inputs, network

KEY = jax.random.key(6)
X, Y = inputs(8, 4), inputs(8, 3, seed=2)


def loss(model: Any, x: jax.Array, y: jax.Array, key: Any) -> jax.Array:
    return nn.losses.MSELoss()(model(x, key=key), y)


def parts(array: jax.Array, count: int) -> jax.Array:
    return array.reshape(count, -1, *array.shape[1:])


@pytest.mark.parametrize("count", [1, 2, 8])
def test_micro_batches_have_the_gradient_of_the_batch(count: int) -> None:
    model = network(exact())
    value, whole = nn.value_and_grad(loss)(model, X, Y, KEY)
    mean, some = nn.accumulate(loss)(model, parts(X, count), parts(Y, count), KEY)
    assert float(mean) == pytest.approx(float(value), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), some, whole)


def test_a_training_step_takes_them() -> None:
    model = network(exact())
    taken, optimizer, found = optim.take_apart(model), optim.analog_sgd(0.3), []
    for gradient, batch in ((nn.value_and_grad, (X, Y)), (nn.accumulate, (parts(X, 4), parts(Y, 4)))):
        step = jax.jit(optim.training_step(loss, optimizer, taken, gradient))
        moving, _, value = step(taken.moving, optimizer.init(model), taken.fixed, KEY, *batch)
        found.append((moving, value))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *found)


class Counted(nnx.Module):
    """Counts its calls, as batch statistics do."""

    def __init__(self) -> None:
        self.layer = network(exact())
        self.calls = nnx.BatchStat(jnp.zeros(()))

    def __call__(self, x: jax.Array, *, key: Any) -> jax.Array:
        self.calls.set_value(self.calls.get_value() + 1)
        return self.layer(x, key=key)


def test_what_the_forward_pass_changes_changes_with_each() -> None:
    model = Counted()
    nn.accumulate(loss)(model, parts(X, 4), parts(Y, 4), KEY)
    assert float(model.calls.get_value()) == 4


@pytest.mark.parametrize("batch", [(parts(X, 4), parts(Y, 2)), (parts(X, 4)[:0], parts(Y, 4)[:0]), (jnp.ones(()), Y)])
def test_another_number_of_micro_batches_is_refused(batch: Any) -> None:
    with pytest.raises(ModuleError, match="arrays of micro-batches have the first axes"):
        nn.accumulate(loss)(network(exact()), *batch, KEY)
