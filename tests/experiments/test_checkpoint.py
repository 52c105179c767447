"""Checkpoints: continue bit for bit, refuse what is not the same run, survive damage."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from aihwjax.devices.constant_step import ConstantStepDevice
from aihwjax.errors import CheckpointError
from aihwjax.experiments import MetricsFile, fit, loop
from aihwjax.experiments.arrays import digest, from_arrays, to_arrays
from aihwjax.experiments.storage import Storage
from aihwjax.tile.config import SingleRPUConfig
from tests.experiments import small
from tests.marks import slow


def numbers(model):
    return to_arrays(nnx.state(model))


def untimed(metrics):
    return [{name: value for name, value in entry.items() if name != "time_epoch"} for entry in metrics]


def assert_same(first, second):
    (model, metrics), (other, others) = first, second
    assert digest(numbers(model)) == digest(numbers(other))
    assert untimed(metrics) == untimed(others)


@pytest.mark.parametrize(
    "fields", [slow({"config": small.ANALOG}), {"optimizer": optax.adam(0.01)}], ids=["analog", "adam"]
)
def test_resumed_run_equals_an_undisturbed_one(tmp_path, fields):
    experiment = small.experiment(**fields, epochs=4)
    undisturbed = fit(experiment, key=3)
    fit(experiment.replace(epochs=1), key=3, checkpoint_dir=tmp_path)
    fit(experiment.replace(epochs=3), key=3, checkpoint_dir=tmp_path)
    assert_same(fit(experiment, key=3, checkpoint_dir=tmp_path), undisturbed)
    # nothing is left to do, and the result is still there
    assert_same(fit(experiment, key=3, checkpoint_dir=tmp_path), undisturbed)
    assert Storage(tmp_path, 2).numbers() == [4, 3]


DIFFERENT = [
    ("learning rate", lambda e: (e.replace(learning_rate=0.3), 0), ["learning_rate", "0.2", "0.3"]),
    ("batch size", lambda e: (e.replace(batch_size=9), 0), ["batch_size: 8 there, 9 here"]),
    ("key", lambda e: (e, 1), ["key:"]),
    ("loss", lambda e: (e.replace(loss_function="CrossEntropyLoss"), 0), ["loss_function", "CrossEntropyLoss"]),
    ("device", lambda e: (e.replace(model=small.model(OTHER)), 0), ["device.dw_min: 0.01 there, 0.02 here"]),
    ("initial weights", lambda e: (e.replace(model=small.model(small.ANALOG, seed=1)), 0), ["initial values"]),
    ("data", lambda e: (e.replace(dataset=small.data(seed=5)), 0), ["data:"]),
    ("optimizer", lambda e: (e.replace(optimizer=optax.adam(0.1)), 0), ["optimizer: None there"]),
]
OTHER = SingleRPUConfig(device=ConstantStepDevice(dw_min=0.02))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    experiment = small.experiment(small.ANALOG, epochs=2)
    fit(experiment, checkpoint_dir=folder)
    return experiment, folder


@pytest.mark.parametrize(("change", "parts"), [row[1:] for row in DIFFERENT], ids=[row[0] for row in DIFFERENT])
def test_another_experiment_is_refused_with_the_difference(finished, monkeypatch, change, parts):
    experiment, folder = finished
    monkeypatch.setattr(loop, "epoch", _no_program)
    other, key = change(experiment)
    with pytest.raises(CheckpointError, match="belongs to another experiment") as caught:
        fit(other, key=key, checkpoint_dir=folder)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def _no_program(*_args, **_kwargs):
    raise AssertionError("nothing may be compiled before the checkpoint is known to fit")


def largest(folder, number):
    files = [path for path in (folder / str(number)).rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def _break_json(folder):
    path = folder / "meta" / "metadata"
    path.write_text(path.read_text()[:-20])


DAMAGE = [
    ("truncated arrays", lambda folder, n: _truncate(largest(folder, n))),
    ("flipped bits", lambda folder, n: _flip(largest(folder, n))),
    ("truncated description", lambda folder, n: _break_json(folder / str(n))),
    ("no description", lambda folder, n: (folder / str(n) / "meta" / "metadata").unlink()),
    ("no arrays", lambda folder, n: shutil.rmtree(folder / str(n) / "arrays")),
]


@pytest.mark.parametrize("damage", [row[1] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    experiment = small.experiment(epochs=3)
    undisturbed = fit(experiment, checkpoint_dir=tmp_path)
    damage(tmp_path, 3)
    assert_same(fit(experiment, checkpoint_dir=tmp_path), undisturbed)
    assert Storage(tmp_path, 2).numbers() == [3, 2]
    damage(tmp_path, 3)
    damage(tmp_path, 2)
    with pytest.raises(CheckpointError, match="is damaged: .*no complete one is left") as caught:
        fit(experiment, checkpoint_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_an_unwritable_folder_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "epoch", _no_program)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write into the folder .*file/run': Not a directory"):
        fit(small.experiment(), checkpoint_dir=tmp_path / "file" / "run")


FULL_DISK = """
import resource, signal, sys
import numpy as np
from aihwjax.errors import CheckpointError
from aihwjax.experiments.storage import Storage
storage = Storage(sys.argv[1], 2)
storage.write(1, {}, {"w": np.arange(10.0)})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    storage.write(2, {}, {"w": np.random.default_rng(0).normal(size=100000)})
except CheckpointError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(tmp_path):
    result = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "cannot write checkpoint 2" in result.stdout
    assert result.stdout.count("\n") == 1
    storage = Storage(tmp_path, 2)
    assert storage.numbers() == [1]
    np.testing.assert_array_equal(storage.arrays(1)["w"], np.arange(10.0))


def test_arrays_round_trip_keys_empty_and_scalar_leaves(tmp_path):
    tree = {
        "key": jax.random.key(7),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.int32(4),
        "half": jax.numpy.arange(3, dtype="bfloat16"),
        "flag": np.array([True, False]),
    }
    storage = Storage(tmp_path, 1)
    storage.write(0, {}, to_arrays(tree))
    back = from_arrays(tree, storage.arrays(0), "it")
    assert digest(to_arrays(back)) == digest(to_arrays(tree))
    assert jax.random.key_impl(back["key"]) == jax.random.key_impl(tree["key"])
    with pytest.raises(CheckpointError, match=r"does not fit the model: \['scalar'\] is int32\[\]"):
        from_arrays({**tree, "scalar": np.zeros(2, np.int32)}, storage.arrays(0), "it")
    with pytest.raises(CheckpointError, match=r"\['more'\] is missing there"):
        from_arrays({**tree, "more": np.zeros(2)}, storage.arrays(0), "it")


def entry(epoch):
    return {"epoch": epoch, "accuracy": 0.5, "train_loss": 1.0, "valid_loss": 1.0, "time_epoch": 0.1}


def lines(path):
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()]


FILES = [
    ("new run over an old file", '{"epoch": 0}\n{"epoch": 1}\n', [1, 2], [0, 1]),
    ("resumed with an epoch too many", '{"epoch": 0}\n{"epoch": 1}\n', [1, 2, 3], [0, 1, 2]),
    ("resumed after a torn line", '{"epoch": 0}\n{"epo', [1, 2], [0, 1]),
    ("no file", None, [1, 2], [0, 1]),
]


@pytest.mark.parametrize(("content", "calls", "wanted"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_the_metrics_file_has_no_torn_or_double_line(tmp_path, content, calls, wanted):
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_text(content)
    report = MetricsFile(path)
    for count in calls:
        report([entry(number) for number in range(count)])
    assert lines(path) == wanted
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_reports_are_called_after_each_epoch_and_on_resumption(tmp_path):
    experiment = small.experiment(epochs=2)
    first, second = [], []
    fit(experiment, reports=[lambda m: first.append(len(m))], checkpoint_dir=tmp_path)
    fit(experiment.replace(epochs=4), reports=[lambda m: second.append(len(m))], checkpoint_dir=tmp_path)
    assert first == [1, 2]
    assert second == [2, 3, 4]
