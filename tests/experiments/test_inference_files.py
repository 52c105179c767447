"""Inference experiments as TOML files, and the command that runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aihwjax import cli
from aihwjax import config as configs
from aihwjax.errors import AihwjaxError
from aihwjax.experiments import files, inference_files
from aihwjax.experiments.entries import INFERENCE_SETTINGS

FOLDER = Path(__file__).resolve().parents[2] / "configs"
SMALL: dict[str, Any] = {
    "experiment": {"dataset": "mnist10k", "times": [0.0, 3600.0], "max_elements": 30, "key": 3},
    "tile": {
        "class": "InferenceRPUConfig",
        "forward": {"is_perfect": True},
        "noise_model": {"class": "StateIndependentNoiseModel"},
    },
    "model": {
        "layers": [
            {"class": "Flatten"},
            {"class": "AnalogLinear", "in_features": 784, "out_features": 10},
            {"class": "LogSoftmax"},
        ]
    },
}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "small_inference.toml"
    path.write_text(files.to_toml(SMALL))
    return str(path)


def test_the_file_of_the_project_describes_a_network_whose_weights_are_beside_it() -> None:
    described = inference_files.build(inference_files.read(FOLDER / "mnist10k_inference.toml"))
    assert (described.experiment.inference_repeats, described.n_inference_times) == (5, 10)
    with np.load(described.experiment.weight_template_id) as arrays:
        assert {name: array.shape for name, array in arrays.items() if "weights" in name} == {
            "layers.1.weights": (32, 784),
            "layers.3.weights": (10, 32),
        }


def test_the_resolved_document_gives_the_same_experiment() -> None:
    changes = ["inference_repeats=4", "noise_model.drift_nu_mean=0.2", "remap_weights=false", "loss_function=NLLLoss"]
    first = inference_files.build(files.assign(SMALL, changes, INFERENCE_SETTINGS))
    assert (first.key, first.max_elements, first.experiment.inference_repeats) == (3, 30, 4)
    assert first.experiment.remap_weights is False
    text = files.to_toml(first.resolved)
    second = inference_files.build(configs.read_toml(text))
    assert files.to_toml(second.resolved) == text
    assert str(second.experiment) == str(first.experiment)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("inference_repeats=1.5", "experiment.inference_repeats=1.5 is not allowed: give a whole number"),
        ("remap_weights=1", "experiment.remap_weights=1 is not allowed: give true or false"),
        ("inference_time=true", "experiment.inference_time=True is not allowed: give a number"),
        ("experiment.epochs=3", "experiment has no entry 'epochs'"),
        ("inference_tim=3", "did you mean 'inference_time'"),
    ],
)
def test_what_is_wrong_is_one_line(change: str, message: str) -> None:
    with pytest.raises(AihwjaxError, match=message) as caught:
        inference_files.build(files.assign(SMALL, [change], INFERENCE_SETTINGS))
    assert "\n" not in str(caught.value)


def test_the_command_prints_a_table_and_writes_json(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "w.npz", **{"layers.1.weights": np.eye(10, 784), "layers.1.bias": np.zeros(10)})
    weights, result = str(tmp_path / "w.npz"), tmp_path / "out.json"
    assert cli.main(["infer", file, "--weights", weights, "--repeats", "3", "--json", str(result)]) == 0
    out = capsys.readouterr().out
    assert "3600 s" in out
    assert "3 chips in" in out
    written = json.loads(result.read_text())
    assert written["inference_runs"]["inference_repeat"] == 3
    assert [entry["t_inference"] for entry in written["inference_runs"]["inference_results"]] == [0.0, 3600.0]
    assert len(written["chips"]) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["infer", "FILE", "--weights", "missing.npz"], "weight_template_id='missing.npz': there is no such file"),
        (["infer", "missing.toml"], "cannot read the experiment 'missing.toml'"),
        (["infer", "FILE", "--data", "missing"], "--data='missing' is no folder"),
        (["infer", "FILE", "--time", "0"], "inference_time=0"),
        (["train", "FILE"], "experiment has no entry 'times'"),
    ],
)
def test_a_mistake_is_exit_code_2(
    file: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert cli.main([file if word == "FILE" else word for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
