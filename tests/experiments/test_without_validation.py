"""Training without a validation set, or without validating after every epoch."""

from __future__ import annotations

import numpy as np
import pytest

from aihwjax.errors import DataError
from aihwjax.experiments import fit, run_local
from aihwjax.experiments.data import from_arrays
from aihwjax.experiments.metrics import Printer
from aihwjax.plot.learning import read_learning_curve
from tests.experiments import small

X, Y, VALID_X, VALID_Y = small.data()
ALONE = ["epoch", "train_loss", "time_epoch"]


def untimed(metrics):
    return [{name: value for name, value in entry.items() if name != "time_epoch"} for entry in metrics]


@pytest.mark.parametrize("dataset", [(X, Y), from_arrays(X, Y)], ids=["arrays", "data set"])
def test_no_validation_set_gives_metrics_of_training_alone(dataset, capsys):
    metrics = run_local(small.experiment(dataset=dataset), max_elements_train=32, stdout=True)
    assert [list(entry) for entry in metrics] == [ALONE] * 3
    assert "Validation" not in capsys.readouterr().out


def test_training_is_the_same_with_and_without():
    validated = run_local(small.experiment())
    for fields in ({"dataset": (X, Y)}, {"validate_every": 0}):
        alone = run_local(small.experiment(**fields))
        assert [entry["train_loss"] for entry in alone] == [entry["train_loss"] for entry in validated]
        assert "valid_loss" not in alone[-1]


def test_every_second_epoch_is_validated_as_if_all_were():
    every, second = (run_local(small.experiment(validate_every=n, epochs=4)) for n in (1, 2))
    assert [list(entry) for entry in second[::2]] == [ALONE] * 2
    assert untimed(second)[1::2] == untimed(every)[1::2]


def test_loaded_splits_and_two_arrays_train_too():
    experiment = small.experiment(epochs=1)
    losses = {fit(experiment, data)[1][0]["train_loss"] for data in ((X, Y), from_arrays(X, Y).load(), None)}
    assert len(losses) == 1


def test_runs_go_on(tmp_path):
    first = run_local(small.experiment(dataset=(X, Y), epochs=1), checkpoint_dir=tmp_path)
    more = run_local(small.experiment(dataset=(X, Y)), checkpoint_dir=tmp_path)
    assert more[:1] == first
    assert untimed(more) == untimed(run_local(small.experiment(dataset=(X, Y))))


def test_learning_curves_have_gaps():
    curve = read_learning_curve([{"epoch": 0, "train_loss": 1.0, "time_epoch": 0.1}])
    assert np.isnan(curve.valid_loss).all()
    assert curve.accuracy is None


def test_half_a_validation_set_is_refused():
    with pytest.raises(DataError, match="there is valid_x without valid_y; allowed: both or none"):
        from_arrays(X, Y, VALID_X)


def test_metrics_of_your_own_need_one():
    with pytest.raises(DataError, match="metrics of your own need validation data"):
        run_local(small.experiment(dataset=(X, Y), metrics={"f1": lambda p, t: 0.0}))


def test_a_printer_has_two_lines(capsys):
    Printer(0)([{"epoch": 0, "train_loss": 1.0, "time_epoch": 0.1}])
    assert len(capsys.readouterr().out.splitlines()) == 2
