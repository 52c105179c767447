"""The benchmarks run and say what they promise; their figures mean nothing here."""

import json
import math
import os
import sys

import jax
import pytest

from aihwjax.errors import ShapeError
from benchmarks import compile, digital, forward, measure, ours, own_process, rates, run, second_start, sweep, versions
from benchmarks.problem import DEVICES, Problem, Task, digits, random_digits
from benchmarks.rates import Options
from benchmarks.record import Record, write_json
from tests.marks import exhaustive, slow

LAYERS = (16, 8, 4)
FIELDS = {
    "name",
    "unit",
    "higher_is_better",
    "ours",
    "peer",
    "digital",
    "ours_over_peer",
    "ours_over_digital",
    "rounds",
    "our_setting",
    "peer_setting",
    "digital_setting",
    "machine",
    "details",
}


def small(task: Task = Task.TRAIN, device: str = "ConstantStep", batch: int = 4) -> Problem:
    return Problem(task, device, batch, LAYERS)


class Clock:
    """A runner whose samples are given."""

    def __init__(self, seconds):
        self.left = list(seconds)

    def measure(self, epochs):
        return measure.Sample(10 * epochs, self.left.pop(0), 1.0, 0.5, 100.0)


@pytest.mark.parametrize("output_first", [True, False])
def test_digital_training_lowers_the_loss(output_first):
    data = random_digits(16, 4, 32)
    problem = Problem(layers=LAYERS, batch=4, learning_rate=0.5)
    runner = digital.DigitalRunner(problem, data, digital.DigitalSetting(output_first, None))
    losses = [runner.measure(10).loss for _ in range(8)]
    assert losses[-1] < 0.5 * losses[0]


def test_digital_layouts_are_the_same_training():
    data = random_digits(16, 4, 32)
    settings = [digital.DigitalSetting(first, None) for first in (True, False)]
    first, second = (digital.DigitalRunner(small(), data, setting).measure(3).loss for setting in settings)
    assert first == pytest.approx(second, rel=1e-5)


@pytest.mark.parametrize(
    ("task", "device"), [(Task.TRAIN, "ConstantStep"), (Task.TRAIN, "Inference"), (Task.FORWARD, "SoftBounds")]
)
def test_our_runners_count_their_work(task, device):
    data = random_digits(16, 4, 16)
    for name, runner in ours.runners(small(task, device), data).items():
        sample = runner.measure(2)
        runner.close()
        assert name == "one tile a layer"  # the layers are too small to be split
        assert sample.examples == 32
        assert sample.seconds > 0 and math.isfinite(sample.loss)
        assert runner.compile_s > 0


def test_our_training_continues_from_epoch_to_epoch():
    data = random_digits(16, 4, 16)
    problem = Problem(layers=LAYERS, batch=4, learning_rate=0.5)
    runner = ours.TrainRunner(problem, data, ours.OurSetting(single_tile=True))
    losses = [runner.measure(20).loss for _ in range(6)]
    runner.close()
    assert losses[-1] < 0.95 * losses[0]  # weights within ±0.6 learn random labels slowly


@pytest.mark.slow
def test_a_process_of_one_thread_trains_the_same():
    problem = Problem(layers=(784, 8, 10), batch=8)
    alone = own_process.OwnProcessRunner(problem, 64, threads=1)
    here = ours.TrainRunner(problem, digits().cut(64), ours.OurSetting(single_tile=True))
    mine, other = here.measure(2), alone.measure(2)
    here.close()
    alone.close()
    assert other.examples == mine.examples == 128
    assert other.loss == pytest.approx(mine.loss, rel=1e-3)
    assert other.cpu_s < 1.5 * other.seconds and alone.compile_s > 0


def test_only_compounds_are_tried_with_one_thread():
    preset = Problem(device="AGADEcRamPreset")
    cores = len(os.sched_getaffinity(0))
    assert rates.one_thread_helps(preset, Options()) == (cores > 1)
    assert not rates.one_thread_helps(preset, Options(quick=True))
    assert not rates.one_thread_helps(Problem(), Options())


@pytest.mark.slow
def test_versions_of_jax_are_compared(tmp_path, capsys):
    (row,) = versions.main([sys.prefix, "--quick", "--rounds", "1", "--json", str(tmp_path / "records.json")])
    assert row.ours > 0 and row.details["this"]["jax"] == row.details["other"]["jax"] == jax.__version__
    assert json.loads((tmp_path / "records.json").read_text())[0]["name"] == row.name
    assert "other / this" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        versions.main([str(tmp_path)])
    assert "no bin/python there" in capsys.readouterr().err


@pytest.mark.slow
def test_a_second_start_is_timed(capsys):
    first, second = second_start.main(["--starts", "2"])
    for start in (first, second):
        assert 0 < start["imported"] < start["called"] < start["running"]
    assert second["running"] < first["running"]
    assert "first epoch runs" in capsys.readouterr().out


@pytest.mark.slow
def test_networks_of_a_sweep_learn_together_what_they_learn_alone():
    data = random_digits(16, 4, 16)
    runners = [sweep.Sweep(small(device="SoftBounds"), data, 3, way) for way in sweep.Way]
    for _ in range(3):
        samples = [runner.measure(1) for runner in runners]
        assert all(sample.examples == 48 for sample in samples)
        assert [sample.loss for sample in samples] == pytest.approx([samples[0].loss] * 3, rel=1e-3)


def test_our_runner_hands_on_errors():
    data = random_digits(15, 4, 16)  # one feature less than the network has inputs
    with pytest.raises(ShapeError, match="15"):
        ours.TrainRunner(small(), data, ours.OurSetting(single_tile=True))


def test_partial_batches_are_refused():
    with pytest.raises(ValueError, match="no whole number of batches"):
        digital.DigitalRunner(small(), random_digits(16, 4, 15), digital.settings()[0])


def test_rounds_interleave_and_the_first_is_not_counted():
    slow, fast = Clock([9, 2, 4, 3]), Clock([9, 1, 1, 1])
    figures = measure.interleave({"slow": slow, "fast": fast}, epochs=1, rounds=3)
    assert figures["slow"].rates == [5, 2.5, pytest.approx(10 / 3)]
    assert figures["slow"].rate == pytest.approx(10 / 3)
    assert figures["fast"].rate == 10 and figures["fast"].spread == 0
    assert rates.best(figures) == "fast"


def test_a_rival_far_behind_is_left_out():
    runners = {"ours": Clock([9, 9, 9]), "best": Clock([1, 2, 2]), "close": Clock([1.9, 1, 1]), "far": Clock([2.1])}
    figures = measure.interleave(runners, epochs=1, rounds=2, rivals=[["best", "close", "far"], ["ours"]])
    assert {name: len(figure.rates) for name, figure in figures.items()} == {"ours": 2, "best": 2, "close": 2, "far": 1}
    assert rates.best({name: figures[name] for name in ("best", "close", "far")}) == "close"


def test_record_has_figures_and_ratios(tmp_path):
    problem = small()
    (record,) = rates.compare(problem, random_digits(16, 4, 32), None, Options(rounds=2, quick=True))
    write_json([record], tmp_path / "records.json")
    (plain,) = json.loads((tmp_path / "records.json").read_text())
    assert set(plain) == FIELDS
    assert plain["name"] == "train/16x8x4/ConstantStep/batch4" and plain["rounds"] == 2
    assert plain["peer"] is None and plain["ours_over_peer"] is None
    assert plain["ours_over_digital"] == pytest.approx(plain["ours"] / plain["digital"])
    assert len(plain["details"]["ours"][plain["our_setting"]]["rates"]) == 2
    assert plain["machine"]["cores"] >= 1


def test_ratio_to_the_reference():
    record = Record("x", "examples/s", True, ours=30.0, peer=10.0, digital=60.0)
    assert record.ours_over_peer == 3 and record.ours_over_digital == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no benchmark 'trian'"),
        (["--rounds", "0"], "--rounds 0"),
        (["--peer", "nowhere"], "--peer nowhere"),
    ],
)
def test_command_line_refuses(arguments, message, capsys):
    with pytest.raises(SystemExit):
        run.main(arguments)
    assert message in capsys.readouterr().err


def test_command_line_shows_and_writes(tmp_path, capsys, monkeypatch):
    seen = []
    row = Record("forward/x", "examples/s", True, ours=30.0, peer=10.0)
    monkeypatch.setattr(forward, "records", lambda options: [seen.append(options), row][1:])
    path = tmp_path / "folder" / "forward.json"
    assert run.main(["forward", "--rounds", "7", "--json", str(path)]) == [row]
    assert seen == [Options(peer=None, rounds=7, quick=False)]
    assert json.loads(path.read_text())[0]["ours_over_peer"] == 3
    assert "How fast are outputs alone" in capsys.readouterr().out


TINY = [
    slow("forward", 2),
    exhaustive("chips", 4),
    exhaustive("memory", 4),
    slow("conversion", 2),
    exhaustive("update_pass", 6),
    exhaustive("compile", 4),
    exhaustive("sweep", 4),
    exhaustive("sweeps", 3),
    exhaustive("ir_drop", 3),
]


@pytest.mark.parametrize(("name", "count"), TINY)
def test_benchmark_runs_at_tiny_sizes(name, count):
    records = run.main([name, "--quick", "--rounds", "1"])
    assert len(records) == count == len({record.name for record in records})
    assert all(record.ours >= 0 and math.isfinite(record.ours) for record in records)


@pytest.mark.slow
def test_changed_numbers_compile_nothing():
    assert [compile.again(device, digits()).ours for device in DEVICES] == [0, 0]
