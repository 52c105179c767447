"""Losses by name, class and callable give the same number for each example."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax.experiments.losses import known_losses, loss_name, per_example
from aihwjax.nn import losses

CASES = [
    ("NLLLoss", losses.NLLLoss, "labels"),
    ("CrossEntropyLoss", losses.CrossEntropyLoss, "labels"),
    ("MSELoss", losses.MSELoss, "targets"),
    ("BCELoss", losses.BCELoss, "targets"),
]


def _arguments(kind):
    prediction = jax.nn.softmax(jax.random.normal(jax.random.key(0), (7, 3)))
    labels = jnp.arange(7) % 3
    return prediction, labels if kind == "labels" else jax.nn.one_hot(labels, 3)


@pytest.mark.parametrize(("name", "kind", "arguments"), CASES, ids=[row[0] for row in CASES])
def test_all_ways_to_name_a_loss_agree(name, kind, arguments):
    prediction, target = _arguments(arguments)
    wanted = per_example(name)(prediction, target)
    assert wanted.shape == (7,)

    def user(p, t):
        return kind()(p, t)

    for way in (kind, kind(), user):
        np.testing.assert_allclose(per_example(way)(prediction, target), wanted, rtol=1e-6)
    assert float(kind()(prediction, target)) == pytest.approx(float(wanted.mean()), rel=1e-6)


def test_a_users_loss_is_the_same_program_each_time():
    def user(p, t):
        return ((p - t) ** 2).mean()

    assert per_example(user) == per_example(user)
    assert hash(per_example(user)) == hash(per_example(user))
    assert per_example(user) != per_example(lambda p, t: ((p - t) ** 2).mean())


def test_names():
    assert {"NLLLoss", "CrossEntropyLoss", "MSELoss", "BCELoss"} <= set(known_losses())
    assert loss_name("NLLLoss") == loss_name(losses.NLLLoss) == loss_name(losses.NLLLoss()) == "NLLLoss"
