"""Several batches for one update: the result of one batch with all of their examples."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from aihwjax.errors import ConfigError
from aihwjax.experiments import fit, run_local
from aihwjax.experiments.data import from_arrays
from aihwjax.nn import losses
from tests.experiments import small
from tests.marks import some

X, Y, VALID_X, VALID_Y = small.data(train=43)
WEIGHTED = from_arrays(X, Y, VALID_X, VALID_Y, sample_weight=np.random.default_rng(1).uniform(0, 3, 43))
CASES = {
    "padded": {},
    "own": {"loss_function": losses.per_example(losses.nll_loss)},
    "whole batches": {"loss_function": lambda p, t: losses.nll_loss(p, t).mean()},
    "weighted": {"dataset": WEIGHTED, "class_weights": [1.0, 2.0, 0.5]},
}


@pytest.mark.parametrize("case", some(CASES, list(CASES)[:2]))
def test_equals_a_large_batch(case):
    """16 examples an update, 43 in all: two whole updates and one of 11, a micro-batch of 8 and one of 3."""
    fields = {"dataset": (X, Y, VALID_X, VALID_Y), "epochs": 2, **CASES[case]}
    (large, a), (several, b) = (
        fit(small.experiment(batch_size=size, accumulate=16 // size, **fields)) for size in (16, 8)
    )
    jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, atol=1e-5), large.get_weights(), several.get_weights())
    for mine, theirs in zip(a, b, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
        assert mine["valid_loss"] == pytest.approx(theirs["valid_loss"], rel=1e-5)


@pytest.mark.slow
def test_pulsed_devices_learn():
    metrics = run_local(small.experiment(small.ANALOG, batch_size=4, accumulate=2, epochs=8))
    assert metrics[-1]["train_loss"] < 0.8 * metrics[0]["train_loss"]


def test_steps_are_updates():
    seen = []
    run_local(small.experiment(accumulate=2, epochs=1), step_reports=[seen.append], report_every=1)
    assert [entry["step"] for entry in seen] == [1, 2, 3]


@pytest.mark.parametrize("count", [0, 1.5, True])
def test_refuses_what_is_no_number_of_batches(count):
    with pytest.raises(ConfigError, match="accumulate=.* is not allowed: give a whole number of at least 1"):
        small.experiment(accumulate=count)
