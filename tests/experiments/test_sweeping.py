"""Sweeps: every network is the single run of its configuration, whatever it is trained beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import CheckpointError, ConfigError, DataError
from aihwjax.experiments import BasicTraining, LogUniform, SweepTable, configured, grid, sweep
from aihwjax.experiments.sweeping import running
from tests.experiments.sweeping_small import exact, examples, experiment, single, told, two_layers

SPACE = {"device.dw_min": [0.002, 0.004], "learning_rate": [0.1, 0.4], "device.dw_min_std": [0.0, 0.3]}


@pytest.fixture(scope="module")
def table() -> SweepTable:
    """A sweep over numbers, one network after the other."""
    return sweep(experiment(), SPACE, seeds=2, key=5, way="map", progress=False)


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
    rows = table.rows[2 * number : 2 * number + 2]
    point = {path: rows[0][path] for path in SPACE}
    assert told(rows, point) == single(experiment(), point, rows[0]["seed"])


def test_seeds_and_numbers_make_a_difference(table: SweepTable) -> None:
    losses = {row["train_loss"] for row in table.last()}
    assert len(losses) == 16


@pytest.mark.slow
def test_side_by_side_is_the_same_to_rounding(table: SweepTable) -> None:
    other = sweep(experiment(), SPACE, seeds=2, key=5, way="vmap", progress=False)
    for mine, theirs in zip(table.rows, other.rows, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)


def test_choices_are_grouped_and_calls_follow_the_memory() -> None:
    space: dict[str, Any] = {"batch_size": [4, 8], "learning_rate": [0.01, 0.02, 0.04]}
    own = exact(epochs=1)
    whole = sweep(own, space, key=5, progress=False, way="map")
    small = sweep(own, space, key=5, progress=False, memory=whole.plan.memory - 1, way="map")
    assert len(whole.plan.chunks) == 2 < len(small.plan.chunks)
    assert small.rows == whole.rows
    assert "batch_size=4: 3 networks" in str(whole.plan)


def test_one_layer_alone() -> None:
    found = configured(two_layers(), {"layers/2:device.dw_min": 0.01}, 0)
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
        ({"device.dw_min": LogUniform(0.1, 0.2)}, r"has no end of values: draw configurations with sampled"),
        ({"learning_rate.factor": [0.1]}, r"learning_rate is the number 0\.2: give the experiment aj\.schedule"),
        ({"device.dw_min": [[0.1, 0.2]]}, r"device\.dw_min=\[0\.1, 0\.2\] is not allowed: give one number"),
        ({"device.dw_min": [1j]}, r"device\.dw_min=1j is not allowed: give a real number"),
        ({"update.desired_bl": [5.5]}, r"desired_bl=5\.5 is not allowed: give a whole number"),
        ({3: [0.1]}, r"space has the path 3: give text"),
        ({"epochs": [1.5]}, r"epochs=1\.5 is not allowed"),
        ({"forward.bound_management": [0.5, 1.5]}, r"bound_management"),
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
        ({"seeds": []}, r"seeds=\[\] is not allowed"),
        ({"seeds": [1, 1]}, r"seeds=\[1, 1\] is not allowed: give whole numbers from 0, each once"),
        ({"parquet": True}, "parquet=True is not allowed without a folder"),
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
