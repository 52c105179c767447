"""Weights of classes and examples: weighted means, the last partial batch, no new programs, refusals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aihwjax import nn, random
from aihwjax.errors import AihwjaxError
from aihwjax.experiments import fit, loop, run_local
from aihwjax.experiments.data import from_arrays
from aihwjax.nn import losses
from tests.experiments import small

X, Y, VALID_X, VALID_Y = small.data(train=37)
CLASSES = np.array([0.5, 2.0, 0.0], np.float32)
SAMPLES = np.random.default_rng(1).uniform(0, 3, 37).astype(np.float32)


def weighted(sample_weight=SAMPLES):
    return from_arrays(X, Y, VALID_X, VALID_Y, sample_weight=sample_weight)


def test_an_epoch_is_gradient_descent_on_weighted_means():
    """As torch's CrossEntropyLoss(weight) has it: the sum of weight times loss by the sum of weights of the batch."""
    model = nn.AnalogSequential(*small.model().layers[:-1])
    experiment = small.experiment(
        dataset=weighted(), model=model, loss_function="CrossEntropyLoss", class_weights=CLASSES, epochs=1
    )
    trained, metrics = fit(experiment, key=3)
    shuffle = random.fold(jax.random.fold_in(jax.random.key(3), 0), "shuffle")
    order = np.asarray(jnp.argsort(jax.random.bits(shuffle, (37,), jnp.uint32)))
    weights = CLASSES[Y] * SAMPLES
    parameters, total = model.get_weights(), 0.0

    def loss(parameters, x, y, weight):
        (w1, b1), (w2, b2) = parameters.values()
        logits = jnp.tanh(x @ w1.T + b1) @ w2.T + b2
        return (weight * losses.cross_entropy_loss(logits, y)).sum() / weight.sum()

    for start in range(0, 37, 8):
        rows = order[start : start + 8]
        value, gradients = jax.value_and_grad(loss)(parameters, X[rows], Y[rows], weights[rows])
        parameters = jax.tree.map(lambda p, g: p - 0.2 * g, parameters, gradients)
        total += float(value) * weights[rows].sum()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-6), trained.get_weights(), parameters)
    assert metrics[0]["train_loss"] == pytest.approx(total / weights.sum(), rel=1e-5)
    valid = float(loss(parameters, VALID_X, VALID_Y, CLASSES[VALID_Y]))
    assert metrics[0]["valid_loss"] == pytest.approx(valid, rel=1e-5)


@pytest.mark.parametrize("loss", ["NLLLoss", losses.per_example(losses.nll_loss)], ids=["library", "own"])
def test_padded_or_not_means_are_those_of_the_epoch(loss):
    experiment = small.experiment(dataset=weighted(), loss_function=loss, class_weights=CLASSES, learning_rate=0.0)
    metrics = run_local(experiment.replace(epochs=1))
    each = np.asarray(losses.nll_loss(experiment.model(X, key=jax.random.key(0)), jnp.asarray(Y)))
    assert metrics[0]["train_loss"] == pytest.approx(np.average(each, weights=CLASSES[Y] * SAMPLES), rel=1e-5)


def test_whole_weights_are_repetitions():
    counts = np.random.default_rng(2).integers(0, 3, 37)
    twice = (np.repeat(X, counts, axis=0), np.repeat(Y, counts))
    once, repeated = (
        fit(small.experiment(dataset=dataset, batch_size=100, epochs=1, learning_rate=1.0))[0].get_weights()
        for dataset in (weighted(counts), from_arrays(*twice))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), once, repeated)


def test_a_batch_of_zeros_changes_nothing():
    zeros = np.zeros(37)
    zeros[0] = 1e-6
    experiment = small.experiment(dataset=weighted(zeros), epochs=1, batch_size=1, class_weights=[0.0, 1.0, 1.0])
    assert np.isfinite(run_local(experiment)[0]["train_loss"])


def test_other_numbers_need_no_new_program():
    first = run_local(small.experiment(dataset=weighted(), class_weights=CLASSES))
    programs = loop.train_epoch._cache_size()
    second = run_local(small.experiment(dataset=weighted(), class_weights=[1.0, 1.0, 3.0]))
    run_local(small.experiment(dataset=(X, Y, VALID_X, VALID_Y), class_weights=CLASSES))
    run_local(small.experiment(dataset=weighted(2 * SAMPLES)))
    assert loop.train_epoch._cache_size() == programs
    assert first[-1]["train_loss"] != second[-1]["train_loss"]


def test_the_first_examples_keep_their_weights():
    splits = weighted().load(max_elements=5)
    np.testing.assert_array_equal(splits.train_weight, SAMPLES[:5])
    assert len(splits) == 4


def own(predictions, targets):
    return losses.nll_loss(predictions, targets).mean()


BAD = [
    ({"class_weights": [1.0, -1.0, 1.0]}, "class_weights=[1.0, -1.0, 1.0] is not allowed"),
    ({"class_weights": [0.0, 0.0, 0.0]}, "not all of them 0"),
    ({"class_weights": "balanced"}, "class_weights='balanced' is not allowed"),
    ({"class_weights": [1.0, 2.0]}, "there are 2 class_weights: the model has 3 outputs"),
    ({"class_weights": CLASSES, "loss_function": own}, "class_weights are not allowed with loss_function=own"),
    ({"class_weights": CLASSES, "loss_function": "MSELoss"}, "which has no classes: give 'NLLLoss'"),
    ({"loss_function": own}, "the data have a sample_weight, which is not allowed with loss_function=own"),
]


@pytest.mark.parametrize(("fields", "text"), BAD, ids=[text[:40] for _, text in BAD])
def test_refuses_in_one_line(fields, text):
    with pytest.raises(AihwjaxError) as caught:
        run_local(small.experiment(dataset=weighted(), **fields))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", [SAMPLES[:5], -SAMPLES, np.zeros(37), SAMPLES[:, None], SAMPLES * np.nan, "a"])
def test_sample_weights_that_are_not_allowed(weight):
    with pytest.raises(AihwjaxError, match="sample_weight"):
        weighted(weight)
