"""Reports every so many steps: what they are told, that nothing changes, how they end a run."""

from __future__ import annotations

import inspect

import numpy as np
import optax
import pytest

from aihwjax.errors import ConfigError
from aihwjax.experiments import LocalRunner, fit, parts, run_local
from tests.experiments import small


def untimed(metrics):
    return [{name: value for name, value in entry.items() if name != "time_epoch"} for entry in metrics]


@pytest.mark.parametrize("every", [1, 3, 7, 100])
def test_they_are_told_how_far_it_is_and_change_nothing(every):
    experiment = small.experiment(learning_rate=optax.linear_schedule(0.2, 0.0, 18), dataset=small.data(train=44))
    seen = []
    plain, reported = run_local(experiment), run_local(experiment, step_reports=[seen.append], report_every=every)
    assert [entry["step"] for entry in seen] == [*range(every, 19, every)]
    assert [entry["epoch"] for entry in seen] == [(step - 1) // 6 for step in range(every, 19, every)]
    for entry in seen:
        assert entry["learning_rate"] == pytest.approx(0.2 * (1 - (entry["step"] - 1) / 18), rel=1e-5)
    for mine, theirs in zip(reported, plain, strict=True):
        for name in ("train_loss", "valid_loss", "accuracy"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-5)
        last = [entry for entry in seen if entry["step"] == 6 * (mine["epoch"] + 1)]
        assert all(entry["train_loss"] == pytest.approx(mine["train_loss"], rel=1e-6) for entry in last)


def test_recent_losses_make_up_the_mean_so_far():
    seen = []
    run_local(small.experiment(epochs=1), step_reports=[seen.append], report_every=1)
    recent = [entry["recent_loss"] for entry in seen]
    assert seen[-1]["train_loss"] == pytest.approx(np.mean(recent), rel=1e-5)


@pytest.mark.parametrize("loss", ["NLLLoss", lambda p, t: -p[np.arange(len(t)), t].mean()], ids=["padded", "own"])
def test_any_interval_shares_the_programs(loss):
    experiment = small.experiment(dataset=small.data(train=37), loss_function=loss, epochs=2)
    run_local(experiment, step_reports=[lambda step: None], report_every=2)
    programs = parts._train_part._cache_size(), parts._train_rest._cache_size()
    for every in (1, 3, 5):
        run_local(experiment, step_reports=[lambda step: None], report_every=every)
    assert (parts._train_part._cache_size(), parts._train_rest._cache_size()) == programs


def test_rates_by_layer_are_told_by_path():
    seen = []
    rates = {"layers/0": 0.0, "default": 0.1}
    run_local(small.experiment(learning_rate=rates, epochs=1), step_reports=[seen.append], report_every=5)
    assert seen[0]["learning_rate"] == pytest.approx({"default": 0.1, "layers/0": 0.0})


@pytest.mark.parametrize(("stop", "epochs"), [(3, 0), (5, 1), (8, 1), (10, 2)])
def test_one_ends_the_run(tmp_path, stop, epochs):
    seen = []

    def until(step):
        seen.append(step["step"])
        return step["step"] < stop

    experiment = small.experiment()
    metrics = run_local(experiment, step_reports=[until], report_every=1, checkpoint_dir=tmp_path)
    assert seen == [*range(1, stop + 1)]
    assert len(metrics) == epochs
    # what was not finished is done again
    again = run_local(experiment, checkpoint_dir=tmp_path)
    for mine, theirs in zip(again, run_local(experiment), strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)


def test_the_model_of_a_run_that_ended_early_has_its_steps():
    experiment = small.experiment()
    stopped, _ = fit(experiment, step_reports=[lambda step: False], report_every=2)
    two, _ = fit(experiment.replace(epochs=1), small.data(train=16))
    assert not np.array_equal(stopped.get_weights()["layers/0"][0], experiment.model.get_weights()["layers/0"][0])
    assert stopped.get_weights().keys() == two.get_weights().keys()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"report_every": -1}, "report_every=-1 is not allowed"),
        ({"report_every": 2.0}, "report_every=2.0 is not allowed"),
        ({"step_reports": [print]}, "never called with report_every=0"),
        ({"step_reports": print, "report_every": 1}, "give a list of functions"),
        ({"step_reports": [3], "report_every": 1}, r"step_reports\[0\]=3 is not allowed"),
    ],
)
def test_refuses_in_one_line(arguments, text):
    with pytest.raises(ConfigError, match=text):
        run_local(small.experiment(), **arguments)


def test_a_runner_takes_what_run_local_takes():
    mine, theirs = (inspect.signature(function).parameters for function in (LocalRunner.run, run_local))
    assert {name: (p.default, p.annotation) for name, p in mine.items() if name != "self"} == {
        name: (p.default, p.annotation) for name, p in theirs.items()
    }
    assert {*inspect.signature(fit).parameters} - {"data"} <= {*theirs}
