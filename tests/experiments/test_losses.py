"""Losses by name, class and callable; a user's own is called on whole batches, exactly as it was written."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn, random
from aihwjax.errors import ConfigError, DataError, ShapeError
from aihwjax.experiments import fit, loop, run_local
from aihwjax.experiments.losses import EachExample, WholeBatch, known_losses, loss_name, resolved
from aihwjax.experiments.shapes import batch_sizes, check_loss_fits
from aihwjax.nn import losses
from tests.experiments import small

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
    wanted = resolved(name)(prediction, target)
    assert wanted.shape == (7,)
    for way in (kind, kind(), kind.per_example):
        assert resolved(way) is resolved(name)
    own = losses.per_example(kind.per_example)
    np.testing.assert_array_equal(resolved(own)(prediction, target), wanted)
    whole = resolved(lambda p, t: kind()(p, t))
    for mean in (kind()(prediction, target), own(prediction, target), whole(prediction, target)):
        assert float(mean) == pytest.approx(float(wanted.mean()), rel=1e-6)


def test_a_users_loss_is_the_same_program_each_time():
    def user(p, t):
        return ((p - t) ** 2).mean()

    class Made:
        def __call__(self, p, t):
            return user(p, t)

    for given in (user, Made, losses.per_example(user)):
        assert resolved(given) == resolved(given)
        assert hash(resolved(given)) == hash(resolved(given))
    assert resolved(losses.per_example(user)) == resolved(losses.per_example(user))
    assert resolved(user) != resolved(lambda p, t: ((p - t) ** 2).mean())
    assert resolved(user) != resolved(losses.per_example(user))


def test_a_loss_that_cannot_be_hashed_is_itself_only():
    @dataclasses.dataclass
    class Weighted:
        weights: np.ndarray

        def __call__(self, p, t):
            return (self.weights * (p - t) ** 2).mean()

    first, second = Weighted(np.ones(3)), Weighted(np.ones(3))
    assert resolved(first) == resolved(first)
    assert hash(resolved(first)) == hash(resolved(first))
    assert resolved(first) != resolved(second)


def test_a_loss_that_overrides_the_call_of_a_librarys_is_called_itself():
    class Root(losses.MSELoss):
        def __call__(self, p, t):
            return jnp.sqrt(super().__call__(p, t))

    class Renamed(losses.MSELoss):
        pass

    class Own:
        def per_example(self, p, t):
            return ((p - t) ** 2).mean(axis=1)

        def __call__(self, p, t):
            return self.per_example(p, t).mean()

    assert isinstance(resolved(Root), WholeBatch) and isinstance(resolved(Root()), WholeBatch)
    prediction, target = _arguments("targets")
    for each in (Renamed, Renamed(), Own, Own(), losses.per_example(losses.mse_loss)):
        assert isinstance(resolved(each), EachExample)
        np.testing.assert_allclose(resolved(each)(prediction, target), losses.mse_loss(prediction, target), rtol=1e-6)
    assert float(resolved(Root)(prediction, target)) == pytest.approx(float(Root()(prediction, target)))


def test_names():
    assert {"NLLLoss", "CrossEntropyLoss", "MSELoss", "BCELoss"} <= set(known_losses())
    assert loss_name("NLLLoss") == loss_name(losses.NLLLoss) == loss_name(losses.NLLLoss()) == "NLLLoss"
    assert loss_name(losses.per_example(losses.nll_loss)) == "per_example(nll_loss)"


# ---------------------------------------------------------------------- whole batches, against NumPy
WEIGHTS = np.array([0.1, 1.0, 10.0], np.float32)


def class_weights(p, t):
    """Negative log-likelihood with class weights, divided by their sum over the batch."""
    weights = jnp.asarray(WEIGHTS)[t]
    return -(weights * p[jnp.arange(len(t)), t]).sum() / weights.sum()


def class_weights_by_hand(p, t):
    return -sum(WEIGHTS[label] * row[label] for row, label in zip(p, t, strict=True)) / sum(WEIGHTS[t])


WHOLE = [
    ("class weights", class_weights, class_weights_by_hand, "labels"),
    ("root mean square", lambda p, t: jnp.sqrt(((p - t) ** 2).mean()),
     lambda p, t: np.sqrt(np.mean([(a - b) ** 2 for a, b in zip(p.ravel(), t.ravel(), strict=True)])), "targets"),
    ("correlation", lambda p, t: 1 - jnp.corrcoef(p.ravel(), t.ravel())[0, 1],
     lambda p, t: 1 - ((p - p.mean()) * (t - t.mean())).mean() / (p.std() * t.std()), "targets"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "by_hand", "kind"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
@pytest.mark.parametrize("batch_size", [3, 7, 20])
def test_a_whole_set_is_the_mean_over_examples_of_the_losses_of_batches(loss, by_hand, kind, batch_size):
    prediction, target = (np.asarray(array) for array in _arguments(kind))
    program = loop.Program(None, resolved(loss), None, None, batch_size, False)
    found = loop._own_losses(program, loop.Split(jnp.asarray(prediction), jnp.asarray(target)))
    parts = [slice(start, start + batch_size) for start in range(0, 7, batch_size)]
    wanted = [len(target[part]) * by_hand(prediction[part], target[part]) for part in parts]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    each = dataclasses.replace(program, loss=resolved(losses.per_example(losses.mse_loss)))
    if kind == "targets":
        found = loop._own_losses(each, loop.Split(jnp.asarray(prediction), jnp.asarray(target)))
        np.testing.assert_allclose(found, ((prediction - target) ** 2).mean(axis=1), rtol=1e-5)


def test_a_users_loss_trains_as_it_is_written_in_the_partial_batch_too():
    """Exact tiles: one epoch with class weights over 20 examples in steps of 8, 8 and 4, against steps by hand."""
    seen = []

    def loss(p, t):
        seen.append(p.shape)
        return class_weights(p, t)

    experiment = small.experiment(dataset=small.data(train=20), loss_function=loss, epochs=1)
    model, metrics = fit(experiment, key=3)
    x, y, valid_x, valid_y = (jnp.asarray(array) for array in experiment.dataset.load())
    shuffle = random.fold(jax.random.fold_in(jax.random.key(3), 0), "shuffle")
    order = jnp.argsort(jax.random.bits(shuffle, (20,), jnp.uint32))
    parameters, total = experiment.model.get_weights(), 0.0

    def forward(parameters, x):
        (w1, b1), (w2, b2) = parameters.values()
        return jax.nn.log_softmax(jnp.tanh(x @ w1.T + b1) @ w2.T + b2)

    for rows in (order[:8], order[8:16], order[16:]):
        step = jax.jit(jax.value_and_grad(lambda w, x, y: class_weights(forward(w, x), y)))
        value, gradients = step(parameters, x[rows], y[rows])
        parameters = jax.tree.map(lambda w, g: w - 0.2 * g, parameters, gradients)
        total += len(rows) * float(value)
    for mine, theirs in zip(jax.tree.leaves(model.get_weights()), jax.tree.leaves(parameters), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-6)
    assert metrics[0]["train_loss"] == pytest.approx(total / 20, rel=1e-5)
    prediction = np.asarray(forward(parameters, valid_x))
    parts = [slice(0, 8), slice(8, 16), slice(16, 21)]
    valid = sum(
        len(valid_y[part]) * class_weights_by_hand(prediction[part], np.asarray(valid_y[part])) for part in parts
    )
    assert metrics[0]["valid_loss"] == pytest.approx(float(valid) / 21, rel=1e-5)
    assert set(seen) == {(8, 3), (4, 3), (5, 3)}  # never a row that is not there, never one alone


# ---------------------------------------------------------------------- refusals
OUTPUT, LABELS = jax.ShapeDtypeStruct((2, 3), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.int32)
BAD = [
    ("one an example", lambda p, t: p[:, 0], ["shape (8,)", "one number for the batch", "per_example("]),
    ("no number", lambda p, t: p, ["shape (8, 3)", "one number for the batch"]),
    ("whole number", lambda p, t: t.sum(), ["int32", "floating-point"]),
    ("several", lambda p, t: (p.mean(), p), ["the loss does not fit outputs (8, 3) and targets (8,)"]),
    ("a table", lambda p, t: {"loss": p.mean()}, ["the loss does not fit"]),
    ("nothing", lambda p, t: None, ["the loss does not fit"]),
    ("one argument", lambda p: p.mean(), ["the loss does not fit"]),
    ("foreign method", lambda p, t: p.nothing(), ["the loss does not fit", "nothing"]),
    ("NumPy", lambda p, t: float(np.mean(p)), ["the loss does not fit"]),
    ("mean of each", losses.per_example(lambda p, t: p.mean()), ["per_example(<lambda>)", "one an example, (8,)"]),
]


@pytest.mark.parametrize(("loss", "parts"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_no_loss_is_one_line(loss, parts):
    with pytest.raises(DataError) as caught:
        check_loss_fits(loss, OUTPUT, LABELS, (8, 4))
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_a_loss_is_checked_with_the_batches_that_it_will_see():
    assert batch_sizes(8, 40, 21) == [8, 5]
    assert batch_sizes(64, 40, 21) == [40, 21]
    fixed = lambda p, t: (jnp.ones((8, 1)) * p).mean()  # noqa: E731
    check_loss_fits(fixed, OUTPUT, LABELS, (8,))
    with pytest.raises(DataError, match=r"outputs \(5, 3\)"):
        check_loss_fits(fixed, OUTPUT, LABELS, (8, 5))


def test_a_loss_of_each_example_says_so():
    with pytest.raises(ConfigError, match="function=3"):
        losses.per_example(3)
    with pytest.raises(ShapeError, match=r"loss of shape \(2, 3\): give one number for each example"):
        losses.per_example(lambda p, t: p)(jnp.ones((2, 3)), jnp.ones((2, 3)))


def test_whole_numbers_may_mean_what_a_users_loss_takes_them_for():
    x, _, valid_x, _ = small.data()
    counts, valid = np.arange(40), np.arange(21)
    network = nn.AnalogLinear(small.FEATURES, 1, config=small.EXACT, rngs=nnx.Rngs(0))
    loss = lambda p, t: ((p[:, 0] - t) ** 2).mean()  # noqa: E731
    experiment = small.experiment(
        dataset=(x, counts, valid_x, valid), model=network, loss_function=loss, learning_rate=0.0, epochs=1
    )
    (entry,) = run_local(experiment)
    prediction = np.asarray(network(jnp.asarray(valid_x), key=jax.random.key(0)))[:, 0]
    assert entry["valid_loss"] == pytest.approx(float(((prediction - valid) ** 2).mean()), rel=1e-5)
    assert "accuracy" not in entry
