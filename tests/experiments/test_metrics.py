"""Metrics fit the targets: an accuracy where there are classes only, and a user's own over the whole set."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn
from aihwjax.commands.tables import print_metrics
from aihwjax.errors import AihwjaxError, CheckpointError, ConfigError, DataError
from aihwjax.experiments import MetricsFile, Printer, run_local
from aihwjax.experiments.data import Splits, from_arrays
from aihwjax.experiments.own_metrics import measured
from aihwjax.experiments.tasks import Task, task_of
from tests.experiments import small

X = np.zeros((4, 2), np.float32)
LABELS = np.array([0, 1, 2, 1], np.int32)
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]
MARKS = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1]], np.float32)
REAL = np.linspace(-1, 2, 12, dtype=np.float32).reshape(4, 3)
SOFT = np.full((4, 3), 1 / 3, np.float32)


def own(p, t):
    return jnp.mean((p - t) ** 2)


TASKS = [
    ("labels", "NLLLoss", 3, LABELS, Task.LABELS),
    ("labels, own loss", own, 3, LABELS, Task.LABELS),
    ("whole numbers, own loss", own, 1, LABELS, None),
    ("one-hot", "MSELoss", 3, ONE_HOT, Task.ONE_HOT),
    ("one-hot, own loss", own, 3, ONE_HOT, Task.ONE_HOT),
    ("probabilities, cross entropy", "CrossEntropyLoss", 3, SOFT, Task.ONE_HOT),
    ("probabilities, squares", "MSELoss", 3, SOFT, None),
    ("several labels", "BCELoss", 3, MARKS, Task.MARKS),
    ("several labels, squares", nn.losses.MSELoss, 3, MARKS, Task.MARKS),
    ("several labels, own loss", own, 3, MARKS, None),
    ("one label", "BCELoss", 1, MARKS[:, :1], Task.MARKS),
    ("one label, own loss", own, 1, MARKS[:, :1], None),
    ("zeros", "MSELoss", 1, np.zeros((4, 1), np.float32), None),
    ("ones", "MSELoss", 1, np.ones((4, 1), np.float32), None),
    ("regression", "MSELoss", 3, REAL, None),
    ("regression of one", "MSELoss", 1, REAL[:, :1], None),
]


@pytest.mark.parametrize(("loss", "outputs", "y", "wanted"), [row[1:] for row in TASKS], ids=[row[0] for row in TASKS])
def test_what_the_targets_are(loss, outputs, y, wanted):
    output = jax.ShapeDtypeStruct((2, outputs), jnp.float32)
    assert task_of(loss, output, Splits(X, y, X, y)) is wanted


def test_both_splits_say_what_the_targets_are():
    output = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    assert task_of("MSELoss", output, Splits(X, ONE_HOT, X, MARKS)) is Task.MARKS
    assert task_of("MSELoss", output, Splits(X, ONE_HOT, X, REAL)) is None
    deep = jax.ShapeDtypeStruct((2, 1, 3), jnp.float32)
    assert task_of("MSELoss", deep, Splits(X, MARKS[:, None], X, MARKS[:, None])) is None


@pytest.mark.parametrize("kind", [int, np.uint8, bool])
def test_several_labels_may_be_of_any_type(kind):
    marks = MARKS.astype(kind)
    splits = from_arrays(X, marks, X, marks.tolist()).load()
    for y in (splits.train_y, splits.valid_y):
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, MARKS)
    assert task_of("BCELoss", jax.ShapeDtypeStruct((2, 3), jnp.float32), splits) is Task.MARKS
    with pytest.raises(DataError, match=r"train_y has shape \(4, 3\).*0 and 1 for several labels"):
        from_arrays(X, 2 * MARKS.astype(int), X, MARKS)


# ---------------------------------------------------------------------- whole runs
def f1(p, t):
    """Over all labels, as everybody writes it in NumPy."""
    chosen = p > 0.5
    right = np.sum(chosen & (t == 1))
    return 2 * right / (chosen.sum() + t.sum())


def several(valid: int = 300):
    """Return a network and data with three labels an example; more rows than one validation batch has."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(10 + valid, small.FEATURES)).astype(np.float32)
    rngs = nnx.Rngs(0)
    model = nn.AnalogSequential(nn.AnalogLinear(small.FEATURES, 3, config=small.EXACT, rngs=rngs), nn.Sigmoid())
    prediction = np.asarray(model(jnp.asarray(x), key=jax.random.key(0)))
    y = ((prediction > 0.5) ^ (generator.random(prediction.shape) < 0.01)).astype(np.float32)
    return model, (x[:10], y[:10], x[10:], y[10:]), prediction[10:]


def test_several_labels_and_metrics_of_the_whole_validation_set(tmp_path, capsys):
    model, data, prediction = several()
    rows = []

    def batch_rows(p, t):
        rows.append((type(p), p.shape, t.shape))
        p[:] = t[:] = 0  # changes nothing for the others
        return len(p)

    experiment = small.experiment(
        model=model,
        dataset=data,
        loss_function="BCELoss",
        learning_rate=0.0,
        epochs=1,
        metrics={"rows": batch_rows, "f1": f1, "jax": lambda p, t: jnp.mean(p)},
    )
    reports = [MetricsFile(tmp_path / "metrics.jsonl"), Printer(300)]
    (entry,) = run_local(experiment, reports=reports, checkpoint_dir=tmp_path / "run")
    wanted = float(((prediction > 0.5) == data[3]).all(axis=1).mean())
    largest = float((prediction.argmax(1) == data[3].argmax(1)).mean())  # what several labels must not be taken for
    assert entry["accuracy"] == pytest.approx(wanted) and wanted > largest + 0.1
    assert entry["f1"] == pytest.approx(f1(prediction, data[3]))
    assert entry["rows"] == 300
    assert entry["jax"] == pytest.approx(prediction.mean(), rel=1e-5)
    assert rows == [(np.ndarray, (300, 3), (300, 3))]
    names = ["epoch", "accuracy", "train_loss", "valid_loss", "rows", "f1", "jax", "time_epoch"]
    assert list(entry) == names
    assert all(type(value) in (int, float) for value in entry.values())
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == entry
    printed = capsys.readouterr().out
    assert f"accuracy {100 * wanted:.6f} %, loss" in printed and f", f1 {entry['f1']:.8g}" in printed
    assert run_local(experiment, checkpoint_dir=tmp_path / "run") == [entry]
    with pytest.raises(CheckpointError, match=r"metrics: \['f1', 'jax', 'rows'\] there, nothing here"):
        run_local(experiment.replace(metrics={}), checkpoint_dir=tmp_path / "run")


def test_a_regression_has_no_accuracy(capsys):
    x, _, valid_x, _ = small.data()
    y, valid_y = np.cos(x[:, :3]), np.cos(valid_x[:, :3])
    experiment = small.experiment(
        dataset=(x, y, valid_x, valid_y), loss_function="MSELoss", metrics={"largest": lambda p, t: np.abs(p - t).max()}
    )
    metrics = run_local(experiment.replace(epochs=2), stdout=True)
    assert [list(entry) for entry in metrics] == [["epoch", "train_loss", "valid_loss", "largest", "time_epoch"]] * 2
    assert "Validation of 21 examples: loss" in capsys.readouterr().out


# ---------------------------------------------------------------------- refusals
def one(p, t):
    return 1.0


BAD = [
    ("no dictionary", [one], ["metrics=list", "dictionary"]),
    ("no text", {3: one}, ["the name 3"]),
    ("empty", {" ": one}, ["the name ' '"]),
    ("two lines", {"a\nb": one}, ["give a line of text"]),
    ("taken", {"valid_loss": one}, ["'valid_loss'", "has already"]),
    ("no function", {"f1": 3}, ["metrics['f1']=3", "function(predictions, targets)"]),
    ("one argument", {"f1": lambda p: 0}, ["metrics['f1'] cannot be called"]),
]


@pytest.mark.parametrize(("metrics", "parts"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_no_metric_is_refused_in_one_line(metrics, parts):
    with pytest.raises(AihwjaxError) as caught:
        small.experiment(metrics=metrics)
    assert caught.type is ConfigError and "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def broken(p, t):
    raise ValueError("of\nthe user")


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (broken, "failed: ValueError: of the user"),
        (lambda p, t: p.mean(axis=0), r"has shape \(3,\) and type float32: give one real number"),
        (lambda p, t: "good", "give one real number"),
        (lambda p, t: None, "give one real number"),
        (lambda p, t: 1j, "give one real number"),
    ],
)
def test_what_a_metric_must_not_return_is_told(function, part):
    with pytest.raises(ConfigError, match=rf"metrics\['mine'\] of predictions \(4, 3\) and targets \(4, 3\).*{part}"):
        measured({"mine": function}, REAL, REAL)


def test_a_metric_may_return_any_one_number():
    for value in (2, 2.0, np.float32(2), np.array([2]), jnp.float32(2), jnp.full((1, 1), 2)):
        assert measured({"mine": lambda p, t, value=value: value}, REAL, REAL) == {"mine": 2.0}
    assert measured({"sure": lambda p, t: np.all(p == t)}, REAL, REAL) == {"sure": 1.0}


def test_ones_own_accuracy_takes_the_place_of_the_librarys():
    (entry,) = run_local(small.experiment(epochs=1, metrics={"accuracy": lambda p, t: 0.25}))
    assert list(entry) == ["epoch", "accuracy", "train_loss", "valid_loss", "time_epoch"]
    assert entry["accuracy"] == 0.25


# ---------------------------------------------------------------------- for people
def test_the_table_has_the_columns_that_there_are(capsys):
    first = {"epoch": 0, "train_loss": 1.0, "valid_loss": 2.0, "time_epoch": 0.1}
    print_metrics([first, {**first, "epoch": 1, "[f1]": 0.51234}])
    lines = capsys.readouterr().out.splitlines()
    assert "accuracy" not in lines[1] and "[f1]" in lines[1]
    assert "0.5123" in lines[-2]
    print_metrics([{**first, "accuracy": 0.5}])
    assert "50.00 %" in capsys.readouterr().out


def test_pulses_are_reported_where_they_are_counted(tmp_path, capsys):
    config = small.ANALOG.replace({"device.count_pulses": True})
    file = tmp_path / "metrics.jsonl"
    metrics = run_local(small.experiment(config), stdout=True, reports=[MetricsFile(file)])
    pulses = [entry["pulses"] for entry in metrics]
    assert 0 < pulses[0] < pulses[1] < pulses[2]
    assert [json.loads(line)["pulses"] for line in file.read_text().splitlines()] == pulses
    assert f"pulses {pulses[-1]}" in capsys.readouterr().out
    print_metrics(metrics)
    assert "pulses" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="'pulses', which a result has already"):
        small.experiment(metrics={"pulses": own})


def test_pulses_continue_with_a_checkpoint(tmp_path):
    experiment = small.experiment(small.ANALOG.replace({"device.count_pulses": True}))
    whole = run_local(experiment)
    run_local(experiment, checkpoint_dir=tmp_path, reports=[lambda metrics: len(metrics) < 2])
    again = run_local(experiment, checkpoint_dir=tmp_path)
    assert [entry["pulses"] for entry in again] == [entry["pulses"] for entry in whole]


def test_pulses_are_not_reported_where_they_are_not_counted():
    assert "pulses" not in run_local(small.experiment(epochs=1))[0]
