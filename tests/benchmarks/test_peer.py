"""The driver of the reference, against a stand-in that speaks its protocol."""

import sys

import numpy as np
import pytest

from benchmarks import digital, ours, rates
from benchmarks.measure import Sample, interleave
from benchmarks.peer import LIGHTNING, Peer, PeerSetting, PeerWorker, ranges_settings, settings
from benchmarks.problem import LEARNED_RANGES, Problem, random_digits
from benchmarks.rates import Options
from benchmarks.worker import WorkerError

STAND_IN = """
import json, os, sys
import numpy as np
threads = int(os.environ["OMP_NUM_THREADS"])
runs = {}
print(json.dumps({"ready": True, "lightning": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "prepare":
        arrays = np.load(request["data"])
        if request["device"] == "Odd":
            print(json.dumps({"error": "AttributeError: OddDevice"}), flush=True)
            continue
        if request["device"] == "Deadly":
            sys.exit(3)
        runs[request["name"]] = len(arrays["labels"]), request["single_tile"]
        print(json.dumps({"prepare_s": 0.25}), flush=True)
    else:
        examples, single_tile = runs[request["name"]]
        seconds = threads * (1 if single_tile else 2)
        sample = {"examples": examples * request["epochs"], "seconds": seconds, "cpu_s": seconds}
        print(json.dumps({**sample, "loss": 0.5, "peak_rss_mib": 10}), flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    """A virtual environment whose Python is the stand-in, whatever it is asked to run."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/stand_in.py"\n')
    python.chmod(0o755)
    return tmp_path


def test_every_setting_is_measured_in_turn(folder):
    data = random_digits(784, 10, 12)
    with Peer(folder) as peer:
        runners = peer.prepare(Problem(), data.arrays())
        figures = interleave(runners, epochs=2, rounds=2)
    assert set(figures) == {setting.name for setting in settings()}
    for name, runner in runners.items():
        seconds = runner.setting.threads * (1 if runner.setting.single_tile else 2)
        assert figures[name].rate == pytest.approx(24 / seconds)
        assert runner.prepare_s == 0.25


def test_layers_that_fit_a_tile_need_no_second_mapping(folder):
    with Peer(folder) as peer:
        runners = peer.prepare(Problem(layers=(16, 8, 4)), random_digits(16, 4, 12).arrays())
    assert all(runner.setting.single_tile for runner in runners.values())


class OneSecond:
    """Takes a second for whatever it is given."""

    setting = PeerSetting(1, True)
    compile_s = 0.0

    def measure(self, epochs):
        return Sample(16, 1.0, 1.0, 0.5, 10.0)

    def close(self):
        pass


def test_another_library_has_a_record_of_its_own(folder, monkeypatch):
    monkeypatch.setattr(digital, "best", lambda *_: OneSecond())
    monkeypatch.setattr(ours, "runners", lambda *_: {"only": OneSecond()})
    problem = Problem(device=LEARNED_RANGES, batch=4, layers=(16, 8, 4))
    with Peer(folder) as peer:
        names = set(peer.prepare(problem, random_digits(16, 4, 12).arrays()))
        records = rates.compare(problem, random_digits(16, 4, 16), peer, Options(rounds=1, quick=True))
    assert names == {setting.name for setting in ranges_settings(lightning=True) if setting.single_tile}
    first, second = records
    assert second.name == f"{first.name}/beside {LIGHTNING}" and first.ours == second.ours
    assert second.peer_setting.startswith(LIGHTNING) and not first.peer_setting.startswith(LIGHTNING)


def test_errors_of_the_reference_are_named(folder):
    arrays = {"images": np.zeros((1, 4), np.float32), "labels": np.zeros(1, np.int32)}
    with PeerWorker(folder, threads=1) as worker:
        with pytest.raises(WorkerError, match="OddDevice"):
            worker.prepare("x", Problem(device="Odd"), arrays, single_tile=True)
        with pytest.raises(WorkerError, match="ended with status 3"):
            worker.prepare("x", Problem(device="Deadly"), arrays, single_tile=True)
        with pytest.raises(WorkerError, match=r"gone|ended"):
            worker.measure("x", 1)


def test_a_folder_without_python_is_refused(tmp_path):
    with pytest.raises(WorkerError, match="no bin/python"):
        PeerWorker(tmp_path, threads=1)
