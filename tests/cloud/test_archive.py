"""Archives: there and back, the same bytes for the same files, and the process that checks them."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from flax import nnx

from aihwjax.cloud import archive, document, tars
from aihwjax.cloud.check import check
from aihwjax.errors import ArchiveError, CloudError
from aihwjax.experiments import fit
from aihwjax.experiments.arrays import digest
from aihwjax.experiments.storing import arrays_of, with_arrays
from tests.cloud import networks

GIB = 1 << 30


def packed(path, **changes):
    """Write an archive with parameters and return its document and model."""
    experiment = networks.experiment()
    sent = {**document.to_document(experiment, key=1), **changes}
    archive.pack(path, sent, experiment.model)
    return sent, experiment.model


def test_a_model_survives_the_journey_bit_for_bit(tmp_path):
    path = tmp_path / "a.tar"
    _, model = packed(path)
    described = archive.read(path)
    assert digest(arrays_of(described.experiment.model)) == digest(arrays_of(model))
    assert described.document["parameters"] == {"digest": digest(arrays_of(model))}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]


def test_without_parameters_the_weights_come_from_the_key(tmp_path):
    sent = document.to_document(networks.experiment(), key=9)
    archive.pack(tmp_path / "a.tar", sent)
    assert (tmp_path / "a.tar").stat().st_size < 30_000
    drawn = archive.read(tmp_path / "a.tar").experiment.model
    assert digest(arrays_of(drawn)) == digest(arrays_of(document.from_document(sent).experiment.model))


def test_a_result_has_metrics_and_the_trained_model(tmp_path):
    experiment = networks.experiment(epochs=1)
    model, metrics = fit(experiment, experiment.dataset.load(max_elements=40), key=1)
    metrics[0]["train_loss"] = math.nan
    file = io.BytesIO()
    archive.write_result(file, document.to_document(experiment, 1), model, metrics)
    (tmp_path / "r.tar").write_bytes(file.getvalue())
    described = archive.read(tmp_path / "r.tar")
    found = document.metrics(described.document)
    assert math.isnan(found[0]["train_loss"]) and found[0]["accuracy"] == metrics[0]["accuracy"]
    assert digest(arrays_of(described.experiment.model)) == digest(arrays_of(model))
    assert str(described.experiment.model) == str(experiment.model)


def test_the_same_files_give_the_same_bytes(tmp_path):
    packed(tmp_path / "a.tar")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        archive.unpack(tmp_path / "a.tar", tmp_path / name)
        with (tmp_path / f"{name}.tar").open("wb") as file:
            tars.write(file, tmp_path / name)
    assert len({(tmp_path / name).read_bytes() for name in ("a.tar", "one.tar", "two.tar")}) == 1
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert all(m.mtime == m.uid == m.gid == 0 and not m.uname for m in tar.getmembers())


def test_an_archive_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(CloudError, match="No such file or directory"):
        packed(tmp_path / "missing" / "a.tar")
    assert list(tmp_path.iterdir()) == []


def test_parameters_of_another_model_are_refused(tmp_path):
    sent, _ = packed(tmp_path / "a.tar")
    other = nnx.clone(networks.model(seed=3))
    archive.pack(tmp_path / "b.tar", sent, other.layers[1])
    with pytest.raises(ArchiveError, match="do not fit the model") as caught:
        archive.read(tmp_path / "b.tar")
    assert caught.value.field == "parameters"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    experiment = networks.experiment()
    arrays = {name: np.array(array) for name, array in arrays_of(experiment.model).items()}
    weights = next(array for array in arrays.values() if array.ndim > 1 and array.dtype == np.float32)
    weights[..., -1, -1] = value
    archive.pack(tmp_path / "a.tar", document.to_document(experiment), with_arrays(experiment.model, arrays, "here"))
    with pytest.raises(ArchiveError, match="NaN or infinity"):
        archive.read(tmp_path / "a.tar")


def test_the_check_tells_what_is_there(tmp_path):
    path = tmp_path / "a.tar"
    _, model = packed(path)
    answer = check(str(path), GIB)
    size = sum(array.nbytes for array in arrays_of(model).values())
    assert answer == {
        "ok": True,
        "epochs": 2,
        "parameters": size,
        "dataset": "mnist10k",
        "kind": "BasicTraining",
        "layers": [
            "Flatten()",
            "AnalogLinear(784, 4, ConstantStepDevice)",
            "Tanh()",
            "Linear(4, 10)",
            "LogSoftmax(dim=1)",
        ],
    }
    refused = check(str(path), size - 1)
    assert refused["ok"] is False and refused["field"] == "model" and str(size) in refused["message"]


def test_the_check_is_a_command(tmp_path):
    packed(tmp_path / "a.tar")
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:5000])
    for name, ok in (("a.tar", True), ("b.tar", False), ("missing.tar", False)):
        words = [sys.executable, "-m", "aihwjax.cloud.check", str(tmp_path / name), "--max-parameters", str(GIB)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        assert json.loads(line)["ok"] is ok
