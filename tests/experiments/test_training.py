"""The description of an experiment: defaults, freezing, text, refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import optax
import pytest

from aihwjax import nn
from aihwjax.errors import AihwjaxError, ConfigError, DataError, ModuleError
from aihwjax.experiments import BasicTraining
from tests.experiments import small


def test_defaults_are_those_of_the_specification():
    experiment = BasicTraining(dataset="mnist10k", model=small.model())
    assert (experiment.batch_size, experiment.epochs, experiment.learning_rate) == (64, 30, 0.05)
    assert experiment.loss_function == "NLLLoss"
    assert experiment.optimizer is None


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.experiment().epochs = 5


def test_replace_leaves_the_original():
    experiment = small.experiment()
    assert experiment.replace(epochs=7).epochs == 7
    assert experiment.epochs == 3


def test_text_lists_the_fields_in_order():
    text = str(small.experiment(loss_function=nn.losses.NLLLoss))
    places = [
        text.index(f"{name}=")
        for name in ("dataset", "batch_size", "loss_function", "epochs", "learning_rate", "model")
    ]
    assert places == sorted(places)
    assert text.startswith("BasicTraining(dataset=arrays, batch_size=8, loss_function=NLLLoss, ")
    assert "AnalogLinear(6, 5" in text


BAD = [
    ({"dataset": None}, DataError, ["dataset"]),
    ({"dataset": "mnist20k"}, DataError, ["'mnist20k'", "did you mean 'mnist10k'?"]),
    ({"model": nn.AnalogSequential}, ModuleError, ["model=", "instance"]),
    ({"model": 3}, ModuleError, ["model=3"]),
    ({"batch_size": 0}, ConfigError, ["batch_size=0", "at least 1"]),
    ({"batch_size": 2.0}, ConfigError, ["batch_size=2.0", "whole number"]),
    ({"batch_size": True}, ConfigError, ["batch_size=True"]),
    ({"epochs": -1}, ConfigError, ["epochs=-1", "at least 0"]),
    ({"loss_function": "NLLoss"}, ConfigError, ["loss_function='NLLoss'", "did you mean 'NLLLoss'?"]),
    ({"loss_function": 4}, ConfigError, ["loss_function=4"]),
    ({"learning_rate": -0.1}, ConfigError, ["learning_rate=-0.1", "at least 0"]),
    ({"learning_rate": float("nan")}, ConfigError, ["learning_rate=nan", "finite"]),
    ({"learning_rate": float("inf")}, ConfigError, ["learning_rate=inf"]),
    ({"learning_rate": "0.1"}, ConfigError, ["learning_rate='0.1'"]),
    ({"learning_rate": np.array([0.1, 0.2])}, ConfigError, ["learning_rate="]),
    ({"optimizer": "adam"}, ConfigError, ["optimizer='adam'", "optax"]),
]


@pytest.mark.parametrize(("fields", "kind", "parts"), BAD, ids=[str(next(iter(row[0].items())))[:40] for row in BAD])
def test_refuses_in_one_line(fields, kind, parts):
    with pytest.raises(AihwjaxError) as caught:
        small.experiment(**fields)
    assert caught.type is kind
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_replace_names_the_nearest_field():
    with pytest.raises(ConfigError, match="no field 'learning_rat'; did you mean 'learning_rate'"):
        small.experiment().replace(learning_rat=1)


def test_accepts_a_digital_optimizer_and_a_schedule():
    experiment = small.experiment(optimizer=optax.adam(0.01), learning_rate=optax.constant_schedule(0.1))
    assert experiment.learning_rate(0) == pytest.approx(0.1)
