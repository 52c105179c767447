"""``aihwjax sweep``: plan, table and files of a document, and its mistakes in one line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from aihwjax import cli
from aihwjax.experiments import files, sweep_files
from aihwjax.experiments.sweeping.spaces import LogUniform

DOCUMENT = """
[experiment]
dataset = "mnist10k"
max_elements_train = 64
batch_size = 16
epochs = 2
learning_rate = 0.1

[[model.layers]]
class = "Flatten"

[[model.layers]]
class = "AnalogLinear"
in_features = 784
out_features = 10

[[model.layers]]
class = "LogSoftmax"

[tile]
class = "FloatingPointRPUConfig"
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A file whose section ``sweep`` is still to come."""
    path = tmp_path / "sweep.toml"
    path.write_text(DOCUMENT)
    return path


@pytest.mark.slow
def test_a_file_is_swept(document: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document.write_text(DOCUMENT + '[sweep]\nmetric = "train_loss"\n[sweep.space]\nlearning_rate = [0.01, 0.3]\n')
    output = tmp_path / "out"
    command = ["sweep", str(document), "--output", str(output)]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 networks, 1 program, 1 call an epoch") and "best: learning_rate=" in said
    with (output / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["learning_rate"], row["epoch"]) for row in rows] == [
        ("0.01", "0"),
        ("0.01", "1"),
        ("0.3", "0"),
        ("0.3", "1"),
    ]
    assert sweep_files.build(files.read(output / "config.toml")).space == {"learning_rate": [0.01, 0.3]}
    (output / "table.csv").unlink()
    assert cli.main([*command, "--quiet"]) == 0 and capsys.readouterr().out == ""
    with (output / "table.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows


def test_spaces_of_a_file() -> None:
    text = """
    [sweep]
    samples = 4
    [sweep.space]
    learning_rate = { log_uniform = [0.01, 1.0] }
    forward.inp_res = [0.1, 0.2]
    "forward.out_res" = [0.3]
    """
    own = files.configs.read_toml(text)["sweep"]
    points = sweep_files._space(own, 0)
    assert len(points) == 4 and set(points[0]) == {"learning_rate", "forward.inp_res", "forward.out_res"}
    assert sweep_files._values({"log_uniform": [1, 2]}, "x") == LogUniform(1, 2)
    device = sweep_files._values([{"class": "SoftBoundsDevice", "dw_min": 0.5}], "x")[0]
    assert type(device).__name__ == "SoftBoundsDevice" and device.dw_min == 0.5


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("", "sweep is missing"),
        ("[sweep]", "sweep.space is missing"),
        ("[sweep]\nsed = 1\n[sweep.space]\nepochs = [1]", "sweep has no entry 'sed'"),
        ("[sweep]\nmethod = 'sobol'\n[sweep.space]\nepochs = [1]", "sweep.method is not allowed without sweep.samples"),
        (
            "[sweep]\nsamples = 1\n[sweep.space]\nforward.noise_management = { uniform = [0.25, 0.25001] }",
            "noise_management=0.25",
        ),
        ("[sweep]\nfirst = 1\n[sweep.space]\nepochs = [1]", "sweep.first is not allowed without sweep.halving"),
        ("[sweep.space]\nepochs = {uniform = [1]}", "sweep.space.epochs is not allowed: give one of uniform"),
        ("[sweep.space]\nepochs = {uniform = [2, 1]}", "sweep.space.epochs: Uniform"),
        ("[sweep.space]\nlearning_rate = {uniform = [1, 2]}", "give sweep.samples"),
        ("[sweep.space]\nlearning_rat = [1]", "learning_rate"),
        ("[sweep.space]\ndevice.dw_min = [0.1]", "dw_min"),
        ("[sweep.space]\nepochs = []", "is empty"),
        ("[[sweep.points]]\nepochs = 1\n[sweep.space]\nepochs = [1]", "sweep has both space and points"),
    ],
)
def test_mistakes_are_one_line(document: Path, section: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    document.write_text(DOCUMENT + section)
    assert cli.main(["sweep", str(document)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and message in said
