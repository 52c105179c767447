"""The command line: exit codes, files, resumption, one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import cli
from aihwjax.experiments import load

EXPERIMENT = """
[experiment]
dataset = "mnist10k"
epochs = 2
learning_rate = 0.1
max_elements_train = 120

[tile]
class = "FloatingPointRPUConfig"

[[model.layers]]
class = "Flatten"

[[model.layers]]
class = "AnalogLinear"
in_features = 784
out_features = 10

[[model.layers]]
class = "LogSoftmax"
"""


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(EXPERIMENT)
    return str(path)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def untimed(entries):
    return [{**entry, "time_epoch": 0} for entry in entries]


def test_train_prints_a_table(experiment, capsys):
    assert cli.main(["train", experiment]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert "training loss" in out
    assert out.count("%") == 2


def test_train_writes_metrics_configuration_checkpoints_and_model(experiment, tmp_path, capsys):
    folder = tmp_path / "out"
    assert cli.main(["train", experiment, "--output", str(folder), "--quiet", "--key", "3"]) == 0
    assert capsys.readouterr().out == ""
    assert [entry["epoch"] for entry in metrics(folder)] == [0, 1]
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "config.toml", "metrics.jsonl", "model"]
    # the resolved file gives the same run, the model its result
    again = tmp_path / "again"
    assert cli.main(["train", str(folder / "config.toml"), "--output", str(again), "--quiet"]) == 0
    assert untimed(metrics(again)) == untimed(metrics(folder))
    x, key = np.ones((2, 1, 28, 28), np.float32), jax.random.key(0)
    np.testing.assert_array_equal(load(folder / "model")(x, key=key), load(again / "model")(x, key=key))


@pytest.mark.parametrize(
    ("words", "kept"), [([], "nothing is kept without --output"), (["--output"], "the same command goes on from there")]
)
def test_an_interrupted_run_says_where_it_stopped(experiment, tmp_path, capsys, monkeypatch, words, kept):
    def interrupted(self, done, text):
        if done == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("aihwjax.progress.Bar.show", interrupted)
    words = [*words, *[str(tmp_path / "out")][: len(words)]]
    assert cli.main(["train", experiment, *words]) == 130
    assert capsys.readouterr().err.endswith(f"aihwjax: interrupted after 1 of 2 epochs: {kept}\n")


def test_a_folder_of_data_that_is_not_there_is_refused_and_not_made(experiment, tmp_path, capsys):
    assert cli.main(["train", experiment, "--data", str(tmp_path / "typo")]) == 2
    assert f"--data={str(tmp_path / 'typo')!r} is no folder" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


SWEPT = "[sweep]\nseeds = 1\n[sweep.space]\nlearning_rate = [0.1]\n"
WRITING = {
    "train": (["train", "FILE", "--output", "out"], "aihwjax.experiments.load_data"),
    "sweep": (["sweep", "SWEPT", "--output", "out"], "aihwjax.experiments.load_data"),
    "infer": (["infer", "CHIPS", "--json", "out.json"], "aihwjax.experiments.inferring.load_examples"),
    "export": (["export", "FILE", "out"], "aihwjax.experiments.load_data"),
    "summary": (["summary", "FILE"], "aihwjax.experiments.load_data"),
}


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("there", [False, True], ids=["no folder", "no files"])
def test_nothing_is_written_before_the_data_are_there(experiment, tmp_path, capsys, monkeypatch, command, there):
    def missing(*arguments, **options):
        raise aj.DataError("there are no files")

    words, place = WRITING[command]
    monkeypatch.setattr(place, missing)
    chips = Path(__file__).parents[1] / "configs" / "mnist10k_inference.toml"
    files = {"FILE": experiment, "SWEPT": tmp_path / "swept.toml", "CHIPS": chips}
    files["SWEPT"].write_text(Path(experiment).read_text(encoding="utf-8") + SWEPT, encoding="utf-8")
    data = tmp_path / "data"
    if there:
        data.mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main([str(files.get(word, word)) for word in words] + ["--data", str(data)]) == 2
    assert ("there are no files" if there else f"--data={str(data)!r} is no folder") in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_train_resumes(experiment, tmp_path):
    half, whole = tmp_path / "half", tmp_path / "whole"
    for folder, epochs in ((half, "1"), (half, "3"), (whole, "3")):
        assert cli.main(["train", experiment, "--output", str(folder), "--quiet", "--epochs", epochs]) == 0
    assert untimed(metrics(half)) == untimed(metrics(whole))
    assert "epochs = 3" in (half / "config.toml").read_text()


def test_another_experiment_in_the_same_folder_is_refused(experiment, tmp_path, capsys):
    folder = tmp_path / "out"
    assert cli.main(["train", experiment, "--output", str(folder), "--quiet"]) == 0
    before = (folder / "config.toml").read_text()
    assert cli.main(["train", experiment, "--output", str(folder), "--quiet", "--set", "learning_rate=0.2"]) == 2
    error = capsys.readouterr().err
    assert "belongs to another experiment: learning_rate" in error
    assert error.count("\n") == 1
    assert (folder / "config.toml").read_text() == before
    assert len(metrics(folder)) == 2


BAD = [
    (["trai"], ['"trai"', 'Did you mean "train"?']),
    (["train"], ["CONFIG"]),
    (["train", "nope.toml"], ["nope.toml", "No such file"]),
    (["train", "CONFIG", "--epoch", "3"], ["--epoch", "--epochs"]),
    (["train", "CONFIG", "--epochs", "two"], ["--epochs", '"two"']),
    (["train", "CONFIG", "--epochs", "-1"], ["epochs=-1"]),
    (["train", "CONFIG", "--set", "device.dw_mi=3"], ["dw_mi"]),
    (["train", "CONFIG", "--set", "learning_rat=3"], ["did you mean 'learning_rate'?"]),
    (["train", "CONFIG", "--device", "cudda"], ["device='cudda'", "cpu:0", "did you mean 'cuda'?"]),
    (["train", "CONFIG", "--set", "model.layers.1.in_features=80"], ["layers/1", "(120, 784)", "(..., 80)"]),
    (["train", "CONFIG", "--set", "model.layers.1.out_features=5"], ["label 9 is out of range", "0 to 4"]),
    (["train", "CONFIG", "--set", "max_elements_train=-1"], ["max_elements_train=-1"]),
    (
        ["train", "CONFIG", "--set", "model.layers.1.class=Linear", "--set", "model.layers.1.in_features=80"],
        ["layers/1: nnx.Linear(in_features=80", "got shape (120, 784)"],
    ),
    (["train", "CONFIG", "--key", "99999999999999999999"], ["key=99999999999999999999", "a whole number of 64 bits"]),
    (["train", "CONFIG", "--output", "CONFIG"], ["cannot write into the folder", "experiment.toml"]),
    (["fidelity", "nowhere"], ["folder='nowhere'"]),
    (["physics", "SoftBoundDevice"], ["matches no device", "did you mean 'SoftBoundsDevice'?"]),
]


@pytest.mark.parametrize(("arguments", "parts"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_a_mistake_is_one_line_and_exit_code_2(experiment, tmp_path, monkeypatch, capsys, arguments, parts):
    monkeypatch.chdir(tmp_path)
    assert cli.main([experiment if word == "CONFIG" else word for word in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("aihwjax: ")
    for part in parts:
        assert part in captured.err


def test_help_is_fast_because_it_imports_no_jax():
    code = "import sys; from aihwjax import cli; cli.main(['--help']); sys.exit('jax' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout
    assert "fidelity" in result.stdout
