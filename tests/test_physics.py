"""The matrix of physics: what it finds, how seldom it is wrong, and all of it on this platform."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import physics
from aihwjax.cli import main
from aihwjax.devices.device import Device
from aihwjax.errors import ConfigError
from aihwjax.physics.matrix import FALSE_ALARMS
from aihwjax.physics.sampling import SHAPE, Sampler, start_weights
from aihwjax.pulses import UpdateMode

DEVICES = {
    value
    for value in (getattr(aj, name) for name in aj.__all__)
    if inspect.isclass(value) and issubclass(value, Device) and value is not aj.UnitCell
}
START = np.linspace(-0.3, 0.3, 12).reshape(SHAPE)


def tiles(count: int, seed: int, size: float = 1.0, spread: float = 1.0) -> dict[str, np.ndarray]:
    """Return weights of tiles after skewed changes of a mean size of 0.05."""
    rng = np.random.default_rng(seed)
    mean = 0.05 * np.sign(np.arange(12).reshape(SHAPE) - 4.5)
    changes = mean + 0.03 * spread * (rng.exponential(size=(count, *SHAPE)) - 1)
    return {"weights": START + size * changes, "counter": np.full((count, 1), 3.0)}


def p_value(seed: int, count: int = 512, **wrong: float) -> float:
    ours, reference = tiles(count, 2 * seed, **wrong), tiles(count, 2 * seed + 1)
    return physics.compare(ours, reference, {"weights": START}, seed).p_value


def test_false_alarms_are_as_seldom_as_stated() -> None:
    """Of 80 comparisons of equal samples at most so many have a p-value below 0.05, or 0.2, as chance allows."""
    values = np.array([p_value(seed, 128) for seed in range(80)])
    for rate in (0.05, 0.2):
        assert (values < rate).mean() <= rate + 4 * np.sqrt(rate * (1 - rate) / len(values))
    assert values.min() > FALSE_ALARMS / len(values)


@pytest.mark.parametrize(
    "wrong", [{"size": 0.01}, {"size": 0.9}, {"size": 1.1}, {"spread": 1.4}, {"spread": 0.7}], ids=str
)
def test_what_is_wrong_is_found(wrong: dict[str, float]) -> None:
    assert p_value(1000) > FALSE_ALARMS
    assert p_value(1000, **wrong) < FALSE_ALARMS / 378  # cells of the whole matrix


def test_what_is_certain_has_to_be_equal() -> None:
    one, other = tiles(64, 0), tiles(64, 1)
    same = physics.compare({"counter": one["counter"] + 1e-7}, {"counter": other["counter"]})
    assert not physics.differs(same, FALSE_ALARMS)
    for wrong in (one["counter"] + 0.01, np.full((64, 1), np.nan), one["counter"][:, :, None]):
        found = physics.compare({"counter": wrong}, {"counter": other["counter"]})
        assert physics.differs(found, FALSE_ALARMS) and "counter" in found.worst
    assert physics.differs(physics.compare(one, {"weights": other["weights"]}), FALSE_ALARMS)


def test_every_device_and_compound_is_in_the_matrix() -> None:
    kinds = physics.all_kinds()
    assert {type(device) for device in kinds.values()} == DEVICES
    assert all(type(device).__name__ == name for name, device in kinds.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "ConstantStepDevise"}, "did you mean 'ConstantStepDevice'"),
        ({"batches": ()}, "batches=() is not allowed"),
        ({"batches": (8, 8)}, "each once"),
        ({"batches": (0,)}, "whole numbers of at least 1"),
        ({"way": "vmaps"}, "did you mean 'vmap'"),
        ({"tiles": 3}, "at least 32"),
        ({"false_alarms": 1.0}, "between 0 and 1"),
        ({"device": "gpu:7"}, "is not available"),
        ({"seed": 0.5}, "seed=0.5 is not allowed"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace(")", r"\)")):
        physics.run(**changes)  # type: ignore[arg-type]


def test_one_device_agrees_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    """What the reference's GPU code did for years after a first batch of one: it moved weights by a hundredth."""
    device = aj.ConstantStepDevice(dw_min=0.005)
    seen: list[physics.Cell] = []
    cells = physics.run(batches=(1,), tiles=256, kinds={"one": device}, on_cell=seen.append)
    assert [(cell.device, cell.batch, cell.before, cell.passed) for cell in cells] == [("one", 1, (), True)]
    assert cells == seen and cells[0].tests >= 3 * 12 + 1 and cells[0].resolution < 1
    physics.write_json(cells, tmp_path / "matrix.json")
    assert json.loads((tmp_path / "matrix.json").read_text())[0]["passed"] is True
    assert "1 of 1 cells agree" in physics.summary(cells)
    sampler = Sampler(device, UpdateMode.AGGREGATED, "map", jax.devices()[0], anew=False)
    right = sampler.sample((1,), 256, jax.random.key(1))[0]
    sampler.config = sampler.config.replace({"device.dw_min": 0.005 * 0.01})
    wrong = sampler.sample((1,), 256, jax.random.key(2))[0]
    assert physics.differs(physics.compare(wrong, right, {"weights": start_weights()}), FALSE_ALARMS)


def test_a_device_that_does_not_run_is_a_cell_that_has_not_passed(capsys: pytest.CaptureFixture[str]) -> None:
    cells = physics.run(batches=(1,), tiles=32, kinds={"none": "no device"})  # type: ignore[dict-item]
    assert [cell.passed for cell in cells] == [False] and cells[0].message
    assert main(["physics", "Nothing"]) == 2
    assert "matches no device" in capsys.readouterr().err


@pytest.mark.exhaustive
def test_the_command_prints_the_matrix(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "matrix.json"
    command = ["physics", "SoftBoundsDevice", "--batch", "1", "--batch", "8", "--tiles", "128", "--json", str(path)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "4 of 4 cells agree" in shown and "batches 8, 1: agrees" in shown
    assert {(cell["batch"], tuple(cell["before"])) for cell in json.loads(path.read_text())} == {
        (1, ()),
        (1, (8,)),
        (8, ()),
        (8, (1,)),
    }


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", ["map", "vmap"])
@pytest.mark.parametrize("name", sorted(device.__name__ for device in DEVICES))
def test_physics_is_the_same(name: str, way: str) -> None:
    """All of the matrix on this platform."""
    cells = physics.run(name, way=way)
    assert len(cells) == 18
    assert [(cell.batch, cell.before, cell.message) for cell in cells if not cell.passed] == []
