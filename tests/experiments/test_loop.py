"""The loop: exact averages, the last partial batch, keys, and what may not happen on the way."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from aihwjax import nn, optim, random
from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.experiments import fit, loop, run_local
from aihwjax.experiments.arrays import own_buffers, to_arrays
from aihwjax.experiments.data import from_arrays
from aihwjax.experiments.losses import resolved
from aihwjax.experiments.padding import inert
from aihwjax.experiments.tasks import Task
from aihwjax.nn import losses
from aihwjax.tile.config import SingleRPUConfig
from aihwjax.tile.product.io import IOParameters, NoiseManagementType
from aihwjax.tile.product.periphery import InputRangeParameter, PrePostProcessingParameter
from tests.experiments import small
from tests.marks import slow


def weights(model):
    return {path: (np.asarray(w), np.asarray(b)) for path, (w, b) in model.get_weights().items()}


def same(first, second):
    a, b = to_arrays(nnx.state(first)), to_arrays(nnx.state(second))
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def untimed(metrics):
    return [{name: value for name, value in entry.items() if name != "time_epoch"} for entry in metrics]


def test_metrics_have_the_documented_keys():
    metrics = run_local(small.experiment())
    assert [list(entry) for entry in metrics] == [["epoch", "accuracy", "train_loss", "valid_loss", "time_epoch"]] * 3
    assert [entry["epoch"] for entry in metrics] == [0, 1, 2]
    assert all(type(value) in (int, float) for entry in metrics for value in entry.values())


def test_learns_and_leaves_the_experiment_as_it_was():
    experiment = small.experiment(small.ANALOG, epochs=12)
    before = to_arrays(nnx.state(experiment.model))
    model, metrics = fit(experiment)
    after = to_arrays(nnx.state(experiment.model))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not same(model, experiment.model)
    # chance is 1/3; 21 examples: standard error of a guess 0.10
    assert metrics[-1]["accuracy"] > 0.75
    assert metrics[-1]["train_loss"] < 0.7 * metrics[0]["train_loss"]


def test_epochs_send_nothing_to_the_device_that_is_there():
    # on a GPU each number of a configuration would cost a transfer in every epoch
    def refuse(metrics):
        jax.config.update("jax_transfer_guard_host_to_device", "disallow")

    _, undisturbed = fit(small.experiment(small.ANALOG))
    try:
        _, guarded = fit(small.experiment(small.ANALOG), reports=[refuse])
    finally:
        jax.config.update("jax_transfer_guard_host_to_device", None)
    assert untimed(guarded) == untimed(undisturbed)


def test_same_key_same_result_other_key_other_result():
    experiment = small.experiment(small.ANALOG)
    (first, a), (second, b), (third, c) = (fit(experiment, key=key) for key in (1, jax.random.key(1), 2))
    assert same(first, second)
    assert untimed(a) == untimed(b)
    assert not same(first, third)
    assert untimed(a) != untimed(c)


def test_equals_a_loop_by_hand():
    """Exact tiles: one epoch of plain gradient descent over the same order, in NumPy-like steps."""
    experiment = small.experiment(epochs=1)
    model, metrics = fit(experiment, key=3)
    x, y, valid_x, valid_y = (jnp.asarray(array) for array in small.data())
    shuffle = random.fold(jax.random.fold_in(jax.random.key(3), 0), "shuffle")
    order = jnp.argsort(jax.random.bits(shuffle, (40,), jnp.uint32))
    parameters = experiment.model.get_weights()

    def forward(parameters, x):
        (w1, b1), (w2, b2) = parameters.values()
        return jax.nn.log_softmax(jnp.tanh(x @ w1.T + b1) @ w2.T + b2)

    def loss(parameters, x, y):
        return losses.nll_loss(forward(parameters, x), y).mean()

    total = 0.0
    for rows in order.reshape(5, 8):
        value, gradients = jax.value_and_grad(loss)(parameters, x[rows], y[rows])
        parameters = jax.tree.map(lambda p, g: p - 0.2 * g, parameters, gradients)
        total += 8 * float(value)
    for mine, theirs in zip(jax.tree.leaves(model.get_weights()), jax.tree.leaves(parameters), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-6)
    prediction = forward(parameters, valid_x)
    assert metrics[0]["train_loss"] == pytest.approx(total / 40, rel=1e-5)
    assert metrics[0]["valid_loss"] == pytest.approx(float(losses.nll_loss(prediction, valid_y).mean()), rel=1e-5)
    assert metrics[0]["accuracy"] == int((prediction.argmax(1) == valid_y).sum()) / 21


@pytest.mark.parametrize("count", [37, 5, 1])
def test_averages_are_exact_with_a_partial_batch(count):
    """Without learning, the mean loss over batches must be the mean over examples."""
    x, y, _, _ = small.data(train=count)
    experiment = small.experiment(dataset=(x, y, x, y), learning_rate=0.0, epochs=1, batch_size=8)
    metrics = run_local(experiment)
    prediction = experiment.model(x, key=jax.random.key(0))
    wanted = float(losses.nll_loss(prediction, jnp.asarray(y)).mean())
    assert metrics[0]["train_loss"] == pytest.approx(wanted, rel=1e-5)
    assert metrics[0]["valid_loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("config", "tolerance"), [(small.EXACT, 1e-5), slow(small.ANALOG, 0.0)], ids=["exact", "analog"]
)
def test_empty_rows_leave_no_trace(config, tolerance):
    """A last batch filled with empty rows gives the very same tiles as a shorter last step.

    Pulses are equal to the bit. Exact updates are sums over rows, whose rounding depends on their number.
    """
    experiment = small.experiment(config, model=small.model(config, bias=False), dataset=small.data(train=36))
    results = []
    for pad in (True, False):
        model = nnx.clone(experiment.model)
        graph, moving, fixed = optim.take_apart(model)
        state = own_buffers((moving, optim.analog_sgd(0.2).init(model)))
        program = loop.Program(graph, resolved("NLLLoss"), None, None, 8, pad)
        splits = experiment.dataset.load()
        train, valid = loop.Split(*map(jnp.asarray, splits[:2])), loop.Split(*map(jnp.asarray, splits[2:]))
        for number in range(3):
            state, totals = loop.epoch(
                program, state, fixed, np.float32(0.2), train, valid, jax.random.key(0), np.uint32(number)
            )
        results.append((to_arrays(state), totals))
    (padded, padded_totals), (short, short_totals) = results
    assert padded.keys() == short.keys()
    for name in padded:
        np.testing.assert_allclose(padded[name], short[name], rtol=tolerance, atol=tolerance, err_msg=name)
    assert int(padded_totals.correct) == int(short_totals.correct)
    np.testing.assert_allclose(padded_totals.train_loss, short_totals.train_loss, rtol=1e-6)


NOISY = IOParameters(noise_management=NoiseManagementType.NONE)
AVERAGE = IOParameters(noise_management=NoiseManagementType.AVERAGE_ABS_MAX)
RANGE = PrePostProcessingParameter(input_range=InputRangeParameter(enable=True))
INERT = [
    ("default", SingleRPUConfig(), True),
    ("exact", small.EXACT, True),
    ("noise on a zero gradient", SingleRPUConfig(backward=NOISY), False),
    ("forward noise only", SingleRPUConfig(forward=NOISY), True),
    ("average over vectors", SingleRPUConfig(forward=AVERAGE), False),
    ("input range", SingleRPUConfig(pre_post=RANGE), False),
]


@pytest.mark.parametrize(("config", "wanted"), [row[1:] for row in INERT], ids=[row[0] for row in INERT])
def test_knows_where_empty_rows_are_inert(config, wanted):
    assert inert(small.model(config)) is wanted


def test_batch_statistics_see_no_empty_rows():
    class Normalised(nnx.Module):
        def __init__(self):
            self.norm = nnx.BatchNorm(small.FEATURES, momentum=0.0, rngs=nnx.Rngs(0))
            self.layers = small.model()

        def __call__(self, x, *, key):
            return self.layers(self.norm(x), key=key)

    x, y, valid_x, valid_y = small.data(train=5)
    experiment = small.experiment(model=Normalised(), dataset=(x, y, valid_x, valid_y), epochs=1)
    model, _ = fit(experiment)
    np.testing.assert_allclose(model.norm.mean.get_value(), x.mean(0), rtol=1e-5)


def test_numbers_do_not_recompile():
    base = small.experiment(small.ANALOG, epochs=1)
    run_local(base)
    programs = loop.train_epoch._cache_size()
    other = SingleRPUConfig(device=ConstantStepDevice(dw_min=0.02, w_max=0.5))
    run_local(base.replace(learning_rate=0.3, epochs=2), key=5)
    run_local(base.replace(model=small.model(other, seed=4)))
    assert loop.train_epoch._cache_size() == programs
    exact = small.experiment(epochs=1, batch_size=9)
    run_local(exact)
    assert loop.train_epoch._cache_size() == programs + 1


@pytest.mark.parametrize("whole", [True, False], ids=["of the batch", "of each example"])
def test_a_users_loss_trains_like_the_librarys(whole):
    def user(prediction, target):
        return -jnp.mean(prediction[jnp.arange(len(target)), target])

    def each(prediction, target):
        return -prediction[jnp.arange(len(target)), target]

    given = user if whole else losses.per_example(each)
    (one, first), (two, second) = fit(small.experiment()), fit(small.experiment(loss_function=given))
    for a, b in zip(first, second, strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-6)
        assert b["valid_loss"] == pytest.approx(a["valid_loss"], rel=1e-6)
        assert b["accuracy"] == a["accuracy"]
    for a, b in zip(jax.tree.leaves(one.get_weights()), jax.tree.leaves(two.get_weights()), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_digital_optimizer_moves_digital_parameters_only():
    frozen = small.experiment(optimizer=optax.set_to_zero(), epochs=1)
    model, _ = fit(frozen)
    before, after = weights(frozen.model), weights(model)
    for path, (w0, b0) in before.items():
        w, b = after[path]
        assert np.array_equal(b, b0), path
        assert not np.array_equal(w, w0), path


def test_a_schedule_is_followed():
    stop = optax.piecewise_constant_schedule(0.2, {5: 0.0})  # 5 steps an epoch
    one, _ = fit(small.experiment(learning_rate=0.2, epochs=1))
    three, _ = fit(small.experiment(learning_rate=stop, epochs=3))
    for a, b in zip(jax.tree.leaves(one.get_weights()), jax.tree.leaves(three.get_weights()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_targets_of_a_regression():
    x, y, valid_x, valid_y = small.data()
    targets, valid = np.eye(3, dtype=np.float32)[y], np.eye(3, dtype=np.float32)[valid_y]
    dataset = from_arrays(x, targets, valid_x, valid)
    labels = run_local(small.experiment(dataset=(x, y, valid_x, valid_y), learning_rate=0.0, epochs=1))
    metrics = run_local(small.experiment(dataset=dataset, loss_function="MSELoss", learning_rate=0.0, epochs=1))
    assert metrics[0]["accuracy"] == labels[0]["accuracy"]
    assert metrics[0]["valid_loss"] > 0


HITS = [
    (Task.LABELS, [[0.1, 0.9], [0.8, 0.2]], [1, 1], [True, False]),
    (Task.ONE_HOT, [[0.1, 0.9], [0.8, 0.2]], [[0.0, 1.0], [0.0, 1.0]], [True, False]),
    (Task.MARKS, [[0.9], [0.2]], [[1.0], [1.0]], [True, False]),
    (Task.MARKS, [[0.9, 0.6], [0.9, 0.2], [0.1, 0.4]], [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]], [True, False, True]),
]


@pytest.mark.parametrize(("task", "prediction", "target", "wanted"), HITS)
def test_what_counts_as_right(task, prediction, target, wanted):
    assert loop.hit(task, jnp.array(prediction), jnp.array(target)).tolist() == wanted


def test_each_example_is_seen_once_an_epoch():
    """A loss that reads the target only sums over an epoch to the sum of the targets."""
    x, _, valid_x, _ = small.data(train=37)
    marks = (2.0 ** np.arange(37) % 1009).astype(np.float32)[:, None]
    dataset = from_arrays(x, marks, valid_x, np.zeros((21, 1), np.float32))

    def target_only(prediction, target):
        return target.mean() + 0 * prediction.sum()

    metrics = run_local(small.experiment(dataset=dataset, loss_function=target_only, epochs=2))
    for entry in metrics:
        assert entry["train_loss"] == pytest.approx(float(marks.mean()), rel=1e-6)


def test_the_order_changes_with_the_epoch():
    """With steps of one example and no learning, the losses of an epoch are a permutation."""
    experiment = small.experiment(batch_size=1, learning_rate=0.0)
    graph, moving, fixed = optim.take_apart(nnx.clone(experiment.model))
    program = loop.Program(graph, resolved("NLLLoss"), None, None, 1, False)
    splits = experiment.dataset.load()
    train, valid = loop.Split(*map(jnp.asarray, splits[:2])), loop.Split(*map(jnp.asarray, splits[2:]))
    state = own_buffers((moving, optim.analog_sgd(0.0).init(experiment.model)))
    epochs = []
    for number in range(2):
        state, totals = loop.epoch(
            program, state, fixed, np.float32(0), train, valid, jax.random.key(0), np.uint32(number)
        )
        epochs.append(np.asarray(totals.train_loss))
    assert not np.array_equal(*epochs)
    np.testing.assert_allclose(np.sort(epochs[0]), np.sort(epochs[1]), rtol=1e-6)


def test_a_model_without_a_key_argument():
    class Digital(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(small.FEATURES, small.CLASSES, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return jax.nn.log_softmax(self.layer(x))

    metrics = run_local(small.experiment(model=Digital(), epochs=8))
    assert metrics[-1]["accuracy"] > 0.75
    assert nn.analog_tiles(Digital()) == {}


def test_a_report_ends_a_run(tmp_path):
    experiment, seen = small.experiment(epochs=5), []

    def stop(metrics):
        seen.append(len(metrics))
        return len(metrics) < 2

    metrics = fit(experiment, small.data(), reports=[stop], checkpoint_dir=tmp_path)[1]
    assert [entry["epoch"] for entry in metrics] == [0, 1]
    assert seen == [1, 2]
    assert len(fit(experiment, small.data(), reports=[stop], checkpoint_dir=tmp_path)[1]) == 2  # it stays ended
    assert seen == [1, 2, 2]
    # what other functions happen to return ends nothing
    assert len(fit(experiment, small.data(), reports=[lambda metrics: 0, seen.append, lambda metrics: True])[1]) == 5
