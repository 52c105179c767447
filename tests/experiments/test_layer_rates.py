"""Learning rates by layer in experiments."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from aihwjax.errors import CheckpointError, ConfigError
from aihwjax.experiments import fit, loop, run_local
from tests.experiments import small


def moved(**fields):
    experiment = small.experiment(epochs=1, **fields)
    model, _ = fit(experiment, key=1)
    change = jax.tree.map(lambda a, b: np.abs(a - b).max(), model.get_weights(), experiment.model.get_weights())
    return {layer: [float(part) for part in parts] for layer, parts in change.items()}


@pytest.mark.parametrize("optimizer", [None, optax.adam(0.01)], ids=["plain", "adam"])
def test_a_frozen_layer_stays_as_it_is(optimizer):
    change = moved(config=small.ANALOG, learning_rate={"layers/0": 0.0, "default": 0.2}, optimizer=optimizer)
    assert change["layers/0"] == [0, 0]
    assert min(change["layers/2"]) > 0


def test_numbers_are_not_compiled_and_schedules_work():
    rates = {"layers/0": 0.1, "layers/2": lambda step: 0.2 / (1 + step)}
    first = run_local(small.experiment(learning_rate=rates))
    programs = loop.train_epoch._cache_size()
    second = run_local(small.experiment(learning_rate={**rates, "layers/0": 0.2}))
    assert loop.train_epoch._cache_size() == programs
    assert first[-1]["train_loss"] != second[-1]["train_loss"]


def test_one_rate_for_all_is_that_rate():
    whole, parts = (run_local(small.experiment(learning_rate=rate)) for rate in (0.2, {"default": 0.2}))
    assert whole[-1]["train_loss"] == pytest.approx(parts[-1]["train_loss"], rel=1e-5)


def test_a_path_that_there_is_not_is_refused_with_the_experiment():
    with pytest.raises(ConfigError, match="'layers/1', where nothing learns: give one of layers/0, layers/2"):
        small.experiment(learning_rate={"layers/1": 0.1, "default": 0.2})


def test_a_schedule_of_a_layer_is_looked_at_ahead():
    wrong = optax.linear_schedule(0.1, -0.1, 10)
    with pytest.raises(ConfigError, match="of the schedule at step 6 is not allowed"):
        run_local(small.experiment(learning_rate={"layers/0": wrong, "default": 0.2}))


def test_a_checkpoint_knows_the_rates(tmp_path):
    run_local(small.experiment(learning_rate={"layers/0": 0.1, "default": 0.2}, epochs=1), checkpoint_dir=tmp_path)
    with pytest.raises(CheckpointError, match="learning_rate: {'default': 0.2.*, 'layers/0': 0.1.*} there"):
        run_local(small.experiment(learning_rate={"layers/0": 0.0, "default": 0.2}), checkpoint_dir=tmp_path)
