"""Numbers of schedules, epochs cut short, successive halving and Optuna: each row is still that of a single run."""

from __future__ import annotations

import sys
from typing import Any

import optax
import pytest

import aihwjax as aj
from aihwjax.errors import ConfigError, MissingExtraError
from aihwjax.experiments import (
    Choice,
    Integers,
    LogUniform,
    SweepTable,
    Uniform,
    optuna_search,
    sampled,
    successive_halving,
    sweep,
)
from aihwjax.experiments.sweeping.halving import rungs
from tests.experiments.sweeping_small import KEY, exact, single, told

POINTS = sampled({"learning_rate": LogUniform(0.01, 1e7)}, 12, key=1)


@pytest.fixture(scope="module")
def table() -> SweepTable:
    """Twelve learning rates, of which several diverge."""
    return sweep(exact(), POINTS, key=KEY, way="map", progress=False)


def of(table: SweepTable, index: int) -> list[dict[str, Any]]:
    """Return the rows of a configuration."""
    return [row for row in table.rows if row["index"] == index]


def test_those_that_diverge_end_and_the_others_are_single_runs(table: SweepTable) -> None:
    ended = [row["diverged"] for row in table.last()]
    assert 3 < sum(ended) < 9
    assert all(not row["diverged"] for row in table.rows if row not in table.last())
    index = ended.index(False)
    assert told(of(table, index), POINTS[index]) == single(exact(), POINTS[index])


def test_halving_keeps_the_best_and_its_rows_are_those_of_a_sweep(table: SweepTable) -> None:
    found = successive_halving(exact(), POINTS, key=KEY, factor=2, way="map", progress=False)
    assert all(row in table.rows for row in found.rows)
    reached = {row["index"]: row["epoch"] + 1 for row in found.last()}
    assert sorted(reached.values()) == [1] * 6 + [2] * 3 + [3] * 3
    first = sorted(
        (row for row in table.rows if row["epoch"] == 0 and not row["diverged"]), key=lambda r: r["valid_loss"]
    )
    assert {row["index"] for row in first[:6]} == {index for index, epochs in reached.items() if epochs > 1}
    assert "halving: 12 until epoch 1, 6 until epoch 2, 3 until epoch 3; 21 of 36 epochs" in str(found.plan)


@pytest.mark.slow
def test_side_by_side_halves_the_same(table: SweepTable) -> None:
    found = successive_halving(exact(), POINTS, key=KEY, factor=2, way="vmap", progress=False)
    mine = {(row["index"], row["epoch"]): row for row in table.rows}
    assert sorted(row["epoch"] + 1 for row in found.last()) == [1] * 6 + [2] * 3 + [3] * 3
    for row in found.rows:
        same = mine[row["index"], row["epoch"]]
        assert row["diverged"] == same["diverged"]
        assert row["diverged"] or row["valid_loss"] == pytest.approx(same["valid_loss"], rel=1e-4)


def test_rungs_end_with_the_epochs_of_the_experiment() -> None:
    assert [(rung.configurations, rung.until) for rung in rungs(9, 5, 2, 3)] == [(9, 2), (3, 5)]
    assert [(rung.configurations, rung.until) for rung in rungs(3, 9, 1, 3)] == [(3, 1), (1, 9)]
    assert [(rung.configurations, rung.until) for rung in rungs(1, 4, 1, 3)] == [(1, 4)]


def test_numbers_of_a_schedule_and_epochs_need_no_program_of_their_own() -> None:
    rate = aj.schedule(aj.step_decay, init_value=0.1, factor=0.5, every=3)
    space = {"learning_rate.factor": [0.5, 0.9], "learning_rate.every": [1, 2], "epochs": [1, 3]}
    found = sweep(exact(learning_rate=rate), space, key=KEY, way="map", progress=False)
    assert len(found.plan.chunks) == 1
    assert [row["epoch"] for row in found.last()] == [0, 2] * 4
    assert len({row["valid_loss"] for row in found.last()}) == 8
    for index in (1, 6):
        rows = of(found, index)
        point = {path: rows[0][path] for path in space}
        assert told(rows, point) == single(exact(learning_rate=rate), point)


def test_a_schedule_that_is_wrong_at_a_step_is_refused_before_anything_is_trained() -> None:
    rate = aj.schedule(aj.step_decay, init_value=0.1, factor=0.5, every=3)
    with pytest.raises(ConfigError, match=r"configuration 1: learning_rate=-0\.05 of the schedule at step 3"):
        sweep(exact(learning_rate=rate), {"learning_rate.factor": [0.5, -0.5]}, progress=False)


@pytest.mark.slow
def test_rates_by_layer_are_numbers_and_steps_of_optax_are_choices() -> None:
    by_path = exact(learning_rate={"tiles": 0.1, "default": 0.2})
    rate = exact(learning_rate=aj.schedule(optax.linear_schedule, init_value=0.1, end_value=0.0, transition_steps=4))
    for own, space, programs in (
        (by_path, {"learning_rate.default": [0.05, 0.3]}, 1),
        (rate, {"learning_rate.end_value": [0.01, 0.1], "learning_rate.transition_steps": [4, 9]}, 2),
    ):
        found = sweep(own, space, key=KEY, way="map", progress=False)
        assert len(found.plan.chunks) == programs
        for row in found.last():
            point = {path: row[path] for path in space}
            assert told(of(found, row["index"]), point) == single(own, point)


def test_optuna_is_asked_for_batches_and_told_every_result() -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=1))
    space = {"learning_rate": LogUniform(0.01, 1e12), "epochs": Integers(1, 2)}
    found = optuna_search(study, exact(), space, 9, batch=4, key=KEY, way="map", progress=False)
    states = [trial.state.name for trial in study.trials]
    ended = {row["index"]: row for row in found.last()}
    assert len(states) == 9 and {"COMPLETE", "PRUNED"} == set(states)
    for trial in study.trials:
        assert (
            ended[trial.number]["diverged"] is (trial.state.name == "PRUNED") is trial.user_attrs.get("diverged", False)
        )
        if not ended[trial.number]["diverged"]:
            assert (
                trial.value
                == ended[trial.number]["valid_loss"]
                == trial.intermediate_values[trial.params["epochs"] - 1]
            )
    best = study.best_trial
    assert told(of(found, best.number), best.params) == single(exact(), best.params)
    study.enqueue_trial({"learning_rate": 0.1, "epochs": 1})
    with pytest.raises(ConfigError, match="RuntimeError: stopped"):
        optuna_search(study, exact(metrics={"own": _stop}), space, 2, key=KEY, way="map", progress=False)
    assert [trial.state.name for trial in study.trials[9:]] == ["FAIL", "FAIL"]


def _stop(predictions: Any, targets: Any) -> float:
    raise RuntimeError("stopped")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: successive_halving(exact(), POINTS, factor=1), "factor=1 is not allowed"),
        (lambda: successive_halving(exact(), POINTS, first=0), "first=0 is not allowed"),
        (lambda: successive_halving(exact(), {"epochs": [1, 2]}), r"space\['epochs'\] is not allowed"),
        (lambda: successive_halving(exact(), POINTS, metric="valid_los"), "did you mean 'valid_loss'"),
        (lambda: successive_halving(exact(validate_every=2), POINTS), "validate_every=2 is not allowed"),
        (lambda: successive_halving(exact(), POINTS, extreme="least"), "extreme='least' is not allowed"),  # type: ignore[arg-type]
        (
            lambda: sweep(exact(learning_rate={"default": 0.1}), {"learning_rate.defalt": [0.1]}),
            "did you mean 'default'",
        ),
    ],
)
def test_mistakes_are_one_line(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_mistakes_with_optuna_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study()
    space = {"learning_rate": Uniform(0.1, 0.2)}
    with pytest.raises(ConfigError, match="study=int is not allowed"):
        optuna_search(3, exact(), space, 4)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"learning_rat.*'learning_rate'"):
        optuna_search(study, exact(), {"learning_rat": Choice([0.1])}, 4)
    with pytest.raises(ConfigError, match="no metric of this run"):
        optuna_search(study, exact(), space, 4, metric="accuracy")
    assert not study.trials
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"aihwjax\[optuna\]"):
        optuna_search(study, exact(), space, 4)


@pytest.mark.slow
def test_of_a_thousand_a_hundred_diverge_and_nobody_notices() -> None:
    rates = [float(rate) for rate in (0.01 + 0.0002 * i for i in range(1000))]
    for index in range(5, 1000, 10):
        rates[index] = 1e12
    found = sweep(exact(), {"learning_rate": rates}, key=KEY, way="map", progress=False)
    ended = {row["index"] for row in found.last() if row["diverged"]}
    assert ended == set(range(5, 1000, 10)) and len(found.last()) == 1000
    assert len({row["valid_loss"] for row in found.last() if not row["diverged"]}) > 850
    for index in (0, 4, 6, 333, 994, 996, 999):
        assert told(of(found, index), {"learning_rate": 0}) == single(exact(), {"learning_rate": rates[index]})
