"""``aihwjax summary`` and ``aihwjax export``: models of files, of runs, and of folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import cli, nn
from tests.nn.models import exact

EXPERIMENT = """
[experiment]
dataset = "mnist10k"
epochs = 1
max_elements_train = 20

[tile]
class = "FloatingPointRPUConfig"

[[model.layers]]
class = "Flatten"

[[model.layers]]
class = "AnalogLinear"
in_features = 784
out_features = 10
"""


@pytest.fixture
def experiment(tmp_path: Path) -> str:
    path = tmp_path / "experiment.toml"
    path.write_text(EXPERIMENT)
    return str(path)


def test_a_file_is_summed_up(experiment: str, capsys: Any) -> None:
    assert cli.main(["summary", experiment, "--batch", "4", "--set", "mapping.max_input_size=200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "layers/1" in lines[2] and "10x784" in lines[2] and "4 of 10x196" in lines[2]
    assert lines[-1].split()[:2] == ["total", "4"]


def test_a_run_is_exported(experiment: str, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("flatbuffers")
    run, output = tmp_path / "run", tmp_path / "model.jaxexport"
    assert cli.main(["train", experiment, "--output", str(run), "--quiet", "--keep-best", "train_loss"]) == 0
    for words in ([], ["--best"]):
        assert cli.main(["export", str(run), str(output), "--platforms", "cpu,cuda", *words]) == 0
        program = jax.export.deserialize(bytearray(output.read_bytes()))
        assert program.platforms == ("cpu", "cuda")
        x, key = np.ones((3, 1, 28, 28), np.float32), jax.random.key(1)
        expected = aj.load(run / "model")(x, key=key)
        np.testing.assert_allclose(program.call(x, jax.random.key_data(key)), expected, rtol=1e-5)
    assert capsys.readouterr().out == f"wrote {output}\n" * 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["summary", "FOLDER"], "does not say what its inputs are: give --shape"),
        (["summary", "FOLDER", "--shape", "4,x"], "--shape='4,x' is not allowed"),
        (["summary", "FOLDER", "--shape", "5"], "x has shape (1, 5), give (..., 4)"),
        (["summary", "FOLDER", "--set", "key=3"], "is a folder, its model is as it is"),
        (["summary", "FILE", "--batch", "0"], "--batch=0 is not allowed"),
        (["summary", "FILE", "--data", "nowhere"], "--data='nowhere' is no folder"),
        (["export", "FILE", "out", "--best"], "is no folder of a run"),
        (["export", "EMPTY", "out"], "has no trained model: the run has not ended"),
        (["export", "FOLDER", "out", "--shape", "4", "--platforms", "gpu"], "a GPU is cuda or rocm"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], text: str, experiment: str, tmp_path: Path, capsys: Any) -> None:
    places = {"FILE": experiment, "FOLDER": str(tmp_path / "saved"), "EMPTY": str(tmp_path / "empty")}
    if "FOLDER" in words:
        aj.save(places["FOLDER"], nn.AnalogLinear(4, 3, config=exact(), rngs=nnx.Rngs(0)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.toml").write_text(EXPERIMENT)
    if "gpu" in words:
        pytest.importorskip("flatbuffers")
    assert cli.main([places.get(word, word) for word in words]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1
