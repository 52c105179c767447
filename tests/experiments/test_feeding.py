"""Training from batches that a generator makes: the same as from arrays, in another thread, with errors of its own."""

from __future__ import annotations

import threading
import time

import jax
import numpy as np
import pytest

from aihwjax.errors import CheckpointError, DataError
from aihwjax.experiments import feeding, fit, run_local
from aihwjax.experiments.data import from_arrays, from_batches
from aihwjax.nn import losses
from tests.experiments import small

X, Y, VALID_X, VALID_Y = small.data(train=43)


def shuffled(epoch, seed, sizes=(5, 11, 27)):
    order = np.random.default_rng([seed, epoch]).permutation(43)
    for start, size in zip(np.cumsum((0, *sizes)), sizes, strict=False):
        rows = order[start : start + size]
        yield X[rows], Y[rows]


def streamed(batches=shuffled, **options):
    return from_batches(batches, VALID_X, VALID_Y, classes=3, **options)


def untimed(metrics):
    return [{name: value for name, value in entry.items() if name != "time_epoch"} for entry in metrics]


def close(mine, theirs):
    for first, second in zip(mine, theirs, strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() - {"time_epoch"}:
            assert first[name] == pytest.approx(second[name], rel=1e-5)


def steps_by_hand(experiment, batches, epochs):
    """Return the weights after gradient descent on examples as they come, in batches of 8."""
    parameters = experiment.model.get_weights()

    def loss(parameters, x, y):
        (w1, b1), (w2, b2) = parameters.values()
        return losses.nll_loss(jax.nn.log_softmax(jax.numpy.tanh(x @ w1.T + b1) @ w2.T + b2), y).mean()

    for epoch in range(epochs):
        x, y = (np.concatenate(parts) for parts in zip(*batches(epoch), strict=True))
        for start in range(0, len(y), 8):
            gradients = jax.grad(loss)(parameters, x[start : start + 8], y[start : start + 8])
            parameters = jax.tree.map(lambda p, g: p - 0.2 * g, parameters, gradients)
    return parameters


@pytest.mark.parametrize("most", [64, 2], ids=["one chunk", "chunks of two steps"])
@pytest.mark.parametrize("loss", ["NLLLoss", losses.per_example(losses.nll_loss)], ids=["padded", "own"])
def test_examples_are_taken_as_they_come_in_batches_of_the_experiment(monkeypatch, most, loss):
    monkeypatch.setattr(feeding, "_MOST_STEPS", most)
    seeds = set()

    def noted(epoch, seed):
        seeds.add(seed)
        return shuffled(epoch, seed)

    experiment = small.experiment(dataset=streamed(noted), loss_function=loss, epochs=2)
    trained, metrics = fit(experiment)
    (seed,) = seeds - {0}
    wanted = steps_by_hand(experiment, lambda epoch: shuffled(epoch, seed), 2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), trained.get_weights(), wanted)
    assert list(metrics[0]) == ["epoch", "accuracy", "train_loss", "valid_loss", "time_epoch"]


def test_sizes_of_what_comes_do_not_matter():
    runs = [
        run_local(small.experiment(dataset=streamed(lambda e, s, sizes=sizes: shuffled(e, s, sizes))))
        for sizes in ((5, 11, 27), (43,), (1,) * 43)
    ]
    assert untimed(runs[0]) == untimed(runs[1]) == untimed(runs[2])


def test_weights_and_accumulation_work_as_with_arrays():
    weight = np.random.default_rng(1).uniform(0, 2, 43)
    fields = {"learning_rate": 0.0, "accumulate": 2, "class_weights": [1.0, 2.0, 0.5], "epochs": 1}
    arrays = from_arrays(X, Y, VALID_X, VALID_Y, sample_weight=weight)
    batches = streamed([(X[:20], Y[:20], weight[:20]), (X[20:], Y[20:], weight[20:])])
    close(*(run_local(small.experiment(dataset=dataset, **fields)) for dataset in (arrays, batches)))


def test_8_bit_images_are_scaled_and_examples_limited():
    images = (np.abs(X) * 50).astype(np.uint8)
    arrays, batches = (images, Y, images, Y), from_batches([(images, Y)], images, Y, classes=3)
    found = [
        run_local(small.experiment(dataset=dataset, learning_rate=0.0, epochs=1), max_elements_train=10)
        for dataset in (arrays, batches)
    ]
    close(*found)


def test_a_run_that_goes_on_is_the_undisturbed_one(tmp_path):
    def stop(metrics):
        return len(metrics) < 2

    experiment = small.experiment(dataset=streamed(), epochs=4)
    run_local(experiment, checkpoint_dir=tmp_path, reports=[stop])
    assert untimed(run_local(experiment, checkpoint_dir=tmp_path)) == untimed(run_local(experiment))
    other = experiment.replace(dataset=streamed(lambda epoch, seed: [(X, Y)]))
    with pytest.raises(CheckpointError, match="data: "):
        run_local(other, checkpoint_dir=tmp_path)


def test_step_reports_and_no_validation():
    seen = []
    metrics = run_local(
        small.experiment(dataset=from_batches(shuffled, classes=3), epochs=2),
        step_reports=[seen.append],
        report_every=4,
    )
    assert [entry["step"] for entry in seen] == [4, 8, 12]
    assert list(metrics[0]) == ["epoch", "train_loss", "time_epoch"]


def test_batches_are_made_ahead_in_another_thread_that_ends():
    names = set()

    def endless(epoch, seed):
        while True:
            names.add(threading.current_thread().name)
            yield X, Y

    experiment = small.experiment(dataset=streamed(endless), epochs=1)
    fit(experiment, step_reports=[lambda step: False], report_every=1)
    assert "aihwjax batches" in names
    assert not any(thread.name == "aihwjax batches" for thread in threading.enumerate())


def test_making_and_training_overlap():
    made = []

    def chunks():
        for number in range(3):
            made.append(number)
            yield number

    ahead = feeding.ahead(chunks())
    assert next(ahead) == 0
    deadline = time.monotonic() + 10
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2]
    assert list(ahead) == [1, 2]


def failing(epoch, seed):
    yield X, Y
    if seed:
        raise OSError("the disk is gone")


def later(x, y):
    return lambda epoch, seed: [(X, Y), (x, y)] if seed else [(X, Y)]


BAD = [
    (3, "batches is int; allowed: a function of epoch and seed, or an iterable"),
    ([], "epoch 0 has no batches"),
    (iter([(X, Y)] * 3), "batches is an iterator, which is used up after an epoch"),
    ([X], "batch 0 of epoch 0 is ndarray; allowed: .x, y., or .x, y, weight."),
    ([(X, Y[:3])], "batch 0 of epoch 0: y: 3 labels for the 43 examples of x"),
    (failing, "the batches of epoch 0 failed: OSError: the disk is gone"),
    (later(X[:, :4], Y), "batch 1 of epoch 0: x has shape .43, 4.; allowed: .n, ..6,.., as in the first batch"),
    (later(X, Y + 3), "label 5 is out of range: the model's 3 outputs allow 0 to 2"),
    (later(X * np.nan, Y), "batch 1 of epoch 0: x has nan"),
    (later(X, Y - 1), "batch 1 of epoch 0: y: label -1"),
    (lambda epoch: [(X, Y)], "the batches of epoch 0 failed: TypeError: .*takes 1 positional argument"),
]


@pytest.mark.parametrize(("batches", "text"), BAD, ids=[text[:40] for _, text in BAD])
def test_what_is_wrong_with_batches_is_said_in_one_line(batches, text):
    with pytest.raises(DataError, match=text) as caught:
        run_local(small.experiment(dataset=from_batches(batches, VALID_X, VALID_Y), epochs=2))
    assert "\n" not in str(caught.value)
