"""Sweeps: every network is the single run of its configuration, whatever it is trained beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import CheckpointError, ConfigError, DataError
from aihwjax.experiments import BasicTraining, SweepTable, configured, fit, grid, sweep
from aihwjax.experiments.sweeping import running

SPACE = {"device.dw_min": [0.002, 0.004], "learning_rate": [0.1, 0.4], "device.dw_min_std": [0.0, 0.3]}


def examples(count: int = 28) -> tuple[np.ndarray, ...]:
    """Return training and validation examples of three classes."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(count + 12, 4)).astype(np.float32), rng.integers(0, 3, count + 12)
    return x[:count], y[:count], x[count:], y[count:]


def experiment(**fields: Any) -> BasicTraining:
    """Return an experiment on two layers."""
    first, second = (nn.AnalogLinear(a, b, rngs=nnx.Rngs(a)) for a, b in ((4, 5), (5, 3)))
    model = nn.AnalogSequential(first, nn.Sigmoid(), second, nn.LogSoftmax())
    return BasicTraining(examples(), model, **{"batch_size": 8, "epochs": 2, "learning_rate": 0.2, **fields})


@pytest.fixture(scope="module")
def table() -> SweepTable:
    """A sweep over numbers, one network after the other."""
    return sweep(experiment(), SPACE, seeds=2, key=5, way="map", progress=False)


def single(row: dict[str, Any], paths: Any = SPACE) -> list[Any]:
    """Return the metrics of the single run of a row."""
    key = jax.random.fold_in(jax.random.key(5), row["seed"])
    one = configured(experiment(), {path: row[path] for path in paths}, aj.random.fold(key, "devices"))
    return fit(one, key=key, progress=False)[1]


def test_rows_are_in_order(table: SweepTable) -> None:
    assert len(table.rows) == 8 * 2 * 2
    assert [(row["index"], row["seed"], row["epoch"]) for row in table.rows] == [
        (index, seed, epoch) for index in range(8) for seed in range(2) for epoch in range(2)
    ]
    assert [row["learning_rate"] for row in table.last()[:8:2]] == [0.1, 0.1, 0.4, 0.4]
    assert not any(row["diverged"] for row in table.rows)
    assert len(table.plan.chunks) == 1 and "16 networks, 1 program, 1 call" in str(table.plan)


@pytest.mark.parametrize("number", [0, 11])
def test_a_row_is_the_single_run_of_its_configuration(table: SweepTable, number: int) -> None:
    row = table.last()[number]
    metrics = single(row)
    mine = [{name: row[name] for name in ("accuracy", "train_loss", "valid_loss")} for row in table.rows]
    of_it = [{name: entry[name] for name in ("accuracy", "train_loss", "valid_loss")} for entry in metrics]  # type: ignore[literal-required]
    assert mine[2 * number : 2 * number + 2] == of_it


def test_seeds_and_numbers_make_a_difference(table: SweepTable) -> None:
    losses = {row["train_loss"] for row in table.last()}
    assert len(losses) == 16


def test_side_by_side_is_the_same_to_rounding(table: SweepTable) -> None:
    other = sweep(experiment(), SPACE, seeds=2, key=5, way="vmap", progress=False)
    for mine, theirs in zip(table.rows, other.rows, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)


def test_choices_are_grouped_and_calls_follow_the_memory() -> None:
    space: dict[str, Any] = {"batch_size": [4, 8], "device.dw_min": [0.002, 0.004, 0.008]}
    own = experiment(epochs=1)
    whole = sweep(own, space, key=5, progress=False, way="map")
    small = sweep(own, space, key=5, progress=False, memory=whole.plan.memory - 1, way="map")
    assert len(whole.plan.chunks) == 2 < len(small.plan.chunks)
    assert small.rows == whole.rows
    assert "batch_size=4: 3 networks" in str(whole.plan)


def test_one_layer_alone() -> None:
    found = configured(experiment(), {"layers/2:device.dw_min": 0.01}, 0)
    devices: list[Any] = [layer.tiles[0].config.get_value().device for layer in nn.analog_layers(found.model).values()]
    np.testing.assert_allclose([device.dw_min for device in devices], [0.001, 0.01])


def test_a_network_that_diverges_ends_and_others_do_not_notice() -> None:
    layer = nn.AnalogLinear(4, 2, config=aj.FloatingPointRPUConfig(), rngs=nnx.Rngs(0))
    x = examples()[0]
    own = BasicTraining((x, x[:, :2]), layer, loss_function="MSELoss", batch_size=8, epochs=3)
    both, alone = (
        sweep(own, {"learning_rate": rates}, key=5, way="map", progress=False) for rates in ([0.1, 1e9], [0.1])
    )
    good, bad = ([row for row in both.rows if row["index"] == index] for index in (0, 1))
    assert [row["train_loss"] for row in good] == [row["train_loss"] for row in alone.rows]
    assert len(bad) < 3 and bad[-1]["diverged"] and both.best("train_loss")["index"] == 0
    with pytest.raises(ConfigError, match="every configuration diverged"):
        SweepTable(bad, ("learning_rate",)).best("train_loss")


def test_a_stopped_sweep_goes_on_where_it_was(
    table: SweepTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = running._trained
    left = [1]

    def stopping(*arguments: Any) -> Any:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return trained(*arguments)

    options: dict[str, Any] = {"seeds": 2, "key": 5, "way": "map", "progress": False, "folder": tmp_path / "sweep"}
    most = table.plan.memory - 1
    monkeypatch.setattr(running, "_trained", stopping)
    with pytest.raises(KeyboardInterrupt):
        sweep(experiment(), SPACE, memory=most, **options)
    kept = sorted(path.name for path in (tmp_path / "sweep").iterdir())
    assert kept == ["rows-00000.jsonl", "sweep.json"]
    left.extend([1] * 10)
    found = sweep(experiment(), SPACE, memory=most, **options)
    assert found.rows == table.rows and len(left) == 10 - (len(found.plan.chunks) - 1)
    left.clear()
    assert sweep(experiment(), SPACE, memory=most, **options).rows == table.rows
    with pytest.raises(CheckpointError, match=r"another sweep:\n  seeds: 2 there, 3 here"):
        sweep(experiment(), SPACE, memory=most, **{**options, "seeds": 3})
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"sweep\.json is damaged"):
        sweep(experiment(), SPACE, memory=most, **options)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"device.dw_mim": [0.1]}, r"dw_mim.*did you mean 'dw_min'"),
        ({"learning_rat": [0.1]}, r"learning_rat.*'learning_rate'"),
        ({"layers/7:device.dw_min": [0.1]}, r"'layers/7:device\.dw_min' is for no analog layer"),
        ({"device.dw_min": []}, r"space\['device\.dw_min'\] is empty"),
        ({"device.dw_min": 0.1}, r"space\['device\.dw_min'\]=0\.1 is not allowed: give a list of values"),
        ({"device.dw_min": "0.1"}, r"give a list of values"),
        ({"device.dw_min": [-1.0]}, r"dw_min"),
        ({"device.dw_min": ["small"]}, r"dw_min"),
        ({"learning_rate": [float("nan")]}, r"learning_rate"),
        ({"batch_size": [0]}, r"batch_size=0 is not allowed"),
        ([], r"space is empty"),
        (3, r"space=3 is not allowed"),
        ([{"device.dw_min": 0.1}, {"device.dw": 0.1}], r"space\[1\]"),
    ],
)
def test_a_wrong_space_is_one_line(space: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        sweep(experiment(), space, progress=False)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "seeds=0 is not allowed"),
        ({"way": "pmap"}, "way='pmap' is not allowed"),
        ({"memory": 10}, "memory=10 is not allowed: one network takes about"),
        ({"memory": -1}, "memory=-1 is not allowed"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep(experiment(), {"device.dw_min": [0.1]}, progress=False, **arguments)


def test_streams_are_refused() -> None:
    stream = aj.data.from_batches([examples()[:2]], *examples()[2:])
    with pytest.raises(DataError, match="stream"):
        sweep(experiment(), {"device.dw_min": [0.1]}, data=stream, progress=False)


def test_all_combinations() -> None:
    assert grid({"a": [1, 2], "b": (3, 4)}) == [
        {"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4},
    ]  # fmt: skip
