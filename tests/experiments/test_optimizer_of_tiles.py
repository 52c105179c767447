"""Experiments whose inference tiles take the transformation of their optimizer."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
import pytest

import aihwjax as aj
from aihwjax.errors import CheckpointError, ConfigError
from aihwjax.experiments import fit, run_local
from tests.experiments import small

CHIP = aj.InferenceRPUConfig(modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.05))
ADAM = optax.adam(0.03)
ON_TILES = aj.analog_optimizer(ADAM)


def losses(**fields: Any) -> list[float]:
    return [entry["train_loss"] for entry in run_local(small.experiment(CHIP, **fields), key=1, progress=False)]


def test_tiles_take_it_whatever_the_rate_of_others() -> None:
    first, second = losses(optimizer=ON_TILES), losses(optimizer=ON_TILES, learning_rate=7.0)
    assert first == second != losses(optimizer=ADAM)
    assert first[-1] < 0.8 * first[0]


def test_layers_that_are_frozen_stay() -> None:
    experiment = small.experiment(CHIP, optimizer=ON_TILES, learning_rate={"layers/0": 0.0, "default": 1.0})
    model, _ = fit(experiment, key=1, progress=False)
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), model.get_weights(), experiment.model.get_weights())
    assert moved == {"layers/0": (False, False), "layers/2": (True, True)}


def test_micro_batches_make_one_step() -> None:
    exact = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True))
    ends = []
    for fields in ({"batch_size": 8}, {"batch_size": 4, "accumulate": 2}):
        experiment = small.experiment(exact, optimizer=ON_TILES, epochs=2, **fields)
        ends.append(fit(experiment, key=1, progress=False)[0].get_weights())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *ends)


def test_a_run_goes_on_and_another_one_is_told_apart(tmp_path: Any) -> None:
    whole = small.experiment(CHIP, optimizer=ON_TILES, epochs=2)
    run_local(whole.replace(epochs=1), checkpoint_dir=tmp_path, progress=False)
    resumed = run_local(whole, checkpoint_dir=tmp_path, progress=False)
    assert [m["train_loss"] for m in resumed] == [m["train_loss"] for m in run_local(whole, progress=False)]
    with pytest.raises(CheckpointError, match="belongs to another experiment: optimizer: 'on tiles, "):
        run_local(whole.replace(optimizer=ADAM), checkpoint_dir=tmp_path)


def test_what_an_experiment_does_not_take() -> None:
    with pytest.raises(ConfigError, match="optimizer has learning_rate=0.1, which is not allowed"):
        small.experiment(CHIP, optimizer=aj.analog_optimizer(ADAM, learning_rate=0.1))
    with pytest.raises(ConfigError, match="optimizer=AnalogSGD.* is not allowed: give an optax transformation"):
        small.experiment(CHIP, optimizer=aj.analog_sgd(0.1))
    with pytest.raises(ConfigError, match="optimizer is not allowed in the cloud"):
        aj.cloud.document.to_document(small.experiment(CHIP, optimizer=ON_TILES))
