"""Optimizers by name: the transformation of optax, in files and in documents for a composer."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax.cloud import document
from aihwjax.errors import AihwjaxError, ArchiveError, ConfigError
from aihwjax.experiments import files
from tests.cloud import networks

ADAMW = {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.1, "clip_norm": 0.5}
NUMBERS: dict[str, Any] = {name: value for name, value in ADAMW.items() if name != "name"}


def test_it_is_the_transformation_of_optax() -> None:
    named = aj.named_optimizer("adamw", **NUMBERS)
    plain = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.01, weight_decay=0.1))
    params, gradients = jnp.arange(3.0), jnp.array([1.0, -2.0, 3.0])
    found, expected = (t.update(gradients, t.init(params), params)[0] for t in (named.transformation, plain))
    np.testing.assert_array_equal(found, expected)
    assert named.entry() == dict(sorted(NUMBERS.items())) | {"name": "adamw"}


def test_the_same_numbers_are_the_same_optimizer() -> None:
    """So that what is compiled for one serves the other."""
    first, second = (
        aj.named_optimizer("adam", learning_rate=0.1, b1=0.8),
        aj.named_optimizer("adam", b1=0.8, learning_rate=0.1),
    )
    assert first == second and hash(first) == hash(second)
    assert first != aj.named_optimizer("adam", learning_rate=0.2, b1=0.8)


@pytest.mark.parametrize("name", ["adagrad", "adam", "adamw", "lion", "nadam", "rmsprop", "sgd"])
def test_every_name_descends(name: str) -> None:
    transformation = aj.named_optimizer(name, learning_rate=0.1).transformation
    x = jnp.array([1.0, -1.0])
    step, _ = transformation.update(x, transformation.init(x), x)
    assert (step * x < 0).all()


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("adamm", {"learning_rate": 0.1}, "optimizer name='adamm' is not known; did you mean 'adam'?"),
        (optax.adam, {"learning_rate": 0.1}, "is not known: give one of adagrad, adam,"),
        ("adam", {}, "optimizer adam has no learning_rate: give one"),
        ("adam", {"learning_rate": 0.1, "weight_decay": 0.1}, "optimizer adam has no number 'weight_decay'"),
        (
            "adam",
            {"learning_rate": -0.1},
            "optimizer adam: learning_rate=-0.1 is not allowed: give a number at least 0",
        ),
        ("adam", {"learning_rate": "a"}, "optimizer adam: learning_rate='a' is not allowed: give a number"),
        ("adam", {"learning_rate": 0.1, "b1": 1.0}, "b1=1 is not allowed: give a number at least 0 and below 1"),
        ("adam", {"learning_rate": 0.1, "clip_norm": 0}, "clip_norm=0 is not allowed: give a number above 0"),
    ],
)
def test_bad_input_is_one_line(name: Any, numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        aj.named_optimizer(name, **numbers)
    assert "\n" not in str(caught.value)


DOCUMENT: dict[str, Any] = {
    "experiment": {"dataset": "mnist10k", "optimizer": ADAMW},
    "model": {"layers": [{"class": "AnalogLinear", "in_features": 4, "out_features": 3}]},
    "tile": {"class": "InferenceRPUConfig"},
}


def test_a_file_says_it() -> None:
    built = files.build(DOCUMENT)
    assert built.experiment.optimizer == aj.named_optimizer("adamw", **NUMBERS)
    again = files.build(built.resolved)
    assert again.experiment.optimizer == built.experiment.optimizer
    changed = files.build(files.assign(DOCUMENT, ["optimizer.learning_rate=0.5"])).experiment.optimizer
    assert changed == aj.named_optimizer("adamw", **{**NUMBERS, "learning_rate": 0.5})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("adam", "experiment.optimizer='adam' is not allowed: give a table with a name and numbers"),
        ({"learning_rate": 0.1}, "optimizer.name is missing: give one of"),
        ({"name": "adam"}, "optimizer adam has no learning_rate"),
    ],
)
def test_a_file_with_another_entry(entry: Any, message: str) -> None:
    with pytest.raises(AihwjaxError, match=re.escape(message)):
        files.build({**DOCUMENT, "experiment": {"dataset": "mnist10k", "optimizer": entry}})


def test_it_travels() -> None:
    optimizer = aj.named_optimizer("adamw", **NUMBERS)
    sent = document.loads(document.dumps(document.to_document(networks.experiment(optimizer=optimizer))))
    assert sent["experiment"]["optimizer"] == optimizer.entry()
    assert document.from_document(sent).experiment.optimizer == optimizer
    sent["experiment"]["optimizer"]["b3"] = 0.1
    with pytest.raises(ArchiveError, match="optimizer adamw has no number 'b3'") as caught:
        document.check(sent)
    assert caught.value.field == "experiment.optimizer"


def test_tiles_take_it() -> None:
    layer = aj.nn.AnalogLinear(3, 2, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
    optimizer = aj.named_optimizer("sgd", learning_rate=0.1)
    before = layer.get_weights()[0]
    loss = aj.nn.value_and_grad(lambda layer, x, key: (layer(x, key=key) ** 2).mean())
    _, gradients = loss(layer, jnp.ones((4, 3)), jax.random.key(0))
    optimizer.update(layer, gradients, optimizer.init(layer), jax.random.key(1))
    assert (layer.get_weights()[0] != before).any()
