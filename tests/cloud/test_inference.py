"""Inference experiments in the cloud: what is sent, what a job does with it, and what comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax.cloud import CloudJobStatus, archive, document
from aihwjax.cloud.check import check
from aihwjax.errors import ArchiveError
from tests.server.live import Live, live

CONFIG = aj.InferenceRPUConfig(
    forward=aj.IOParameters(is_perfect=True), noise_model=aj.StateIndependentNoiseModel(), drift_compensation=None
)
EXAMPLES = 30


def experiment(**fields: Any) -> aj.BasicInferencing:
    """Return a small experiment that can travel."""
    model = aj.nn.AnalogSequential(
        aj.nn.Flatten(), aj.nn.AnalogLinear(784, 10, config=CONFIG, rngs=nnx.Rngs(0)), aj.nn.LogSoftmax()
    )
    return aj.BasicInferencing(**{"dataset": aj.MNIST10K, "model": model, "times": [0.0, 1e5], **fields})


DOCUMENT = document.to_document(experiment(inference_repeats=3), 5, EXAMPLES)


def test_an_experiment_survives_the_journey(tmp_path: Path) -> None:
    described = document.from_document(document.loads(document.dumps(DOCUMENT)))
    found: Any = described.experiment
    assert isinstance(found, aj.BasicInferencing)
    assert (found.inference_repeats, found.times, found.batch_size) == (3, (0.0, 1e5), 10)
    assert (described.key, described.max_elements_train) == (5, EXAMPLES)
    assert document.to_document(found, 5, EXAMPLES) == DOCUMENT
    archive.pack(tmp_path / "a.tar", DOCUMENT, experiment().model)
    told = check(str(tmp_path / "a.tar"), 1 << 30)
    assert (told["ok"], told["kind"], told["epochs"], told["dataset"]) == (True, "BasicInferencing", 3, "mnist10k")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"times": [3, 1]}, "experiment.times"),
        ({"times": list(range(1001))}, "experiment.times"),
        ({"times": [0, 1e38]}, "experiment.times"),
        ({"times": "now"}, "experiment.times"),
        ({"inference_repeats": 0}, "experiment.inference_repeats"),
        ({"inference_repeats": 1.5}, "experiment.inference_repeats"),
        ({"weight_template_id": "/etc/passwd"}, "experiment"),
        ({"epochs": 3}, "experiment"),
        ({"dataset": "tfds:mnist"}, "experiment.dataset"),
        ({"loss_function": "mine"}, "experiment.loss_function"),
    ],
)
def test_a_section_that_is_not_allowed_is_refused_with_its_path(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        document.check({**DOCUMENT, "experiment": {**DOCUMENT["experiment"], **change}})
    assert caught.value.field == field


def test_what_cannot_travel_is_refused() -> None:
    bare = document.to_document(experiment())
    bare["model"]["layers"][1]["config"]["noise_model"] = None
    with pytest.raises(ArchiveError, match="noise_model=None is not allowed for a chip"):
        document.check(bare)
    with pytest.raises(aj.ConfigError, match="keep_best is not allowed for an inference experiment"):
        document.to_document(experiment(), keep_best="accuracy")
    with pytest.raises(ArchiveError, match="metrics is not allowed: entry 0 has a row without time and loss"):
        document.check({**DOCUMENT, "metrics": [{"epoch": 0, "over_time": [{"time": 1.0}]}]})


def test_a_job_that_was_interrupted_goes_on_after_its_last_chip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from aihwjax.server.workers import job

    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for folder in (whole, torn):
        folder.mkdir()
        archive.pack(folder / job.INPUT, DOCUMENT, experiment().model)
    assert job.main(whole, None) == 0
    lines = (whole / job.METRICS).read_text().splitlines(keepends=True)
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
    (torn / job.METRICS).write_text(lines[0] + lines[1][:20])
    capsys.readouterr()
    assert job.main(torn, None) == 0
    out = capsys.readouterr().out
    assert "going on after chip 0" in out and "chip 1: after 1e+05 s" in out and "\nchip 0:" not in out
    untimed = [
        [{**json.loads(line), "time_epoch": 0} for line in (folder / job.METRICS).read_text().splitlines()]
        for folder in (whole, torn)
    ]
    assert untimed[0] == untimed[1]
    local = aj.run_local_inference(experiment(inference_repeats=3), 5, max_elements=EXAMPLES, reports=[lambda _: None])
    rows = [{"chip": entry["epoch"], **row} for entry in untimed[0] for row in entry["over_time"]]
    assert rows == local["chips"]
    shutil.rmtree(whole)


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("composer")
    with live(folder, folder) as server:
        yield server


@pytest.mark.slow
def test_an_experiment_with_a_template_comes_back_with_its_chips(composer: Live, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(10, 784)) / 28
    np.savez(tmp_path / "w.npz", **{"layers.1.weights": weights, "layers.1.bias": np.zeros(10)})
    made = experiment(weight_template_id=str(tmp_path / "w.npz"))
    sent = aj.run_cloud(made, key=5, max_elements_train=EXAMPLES, api_url=composer.url, api_token=composer.token())
    assert sent.name == "mnist10k, 2 chips"
    assert sent.wait(timeout=300) is CloudJobStatus.COMPLETED, "\n".join(sent.logs())
    found = sent.get_result()
    local = aj.run_local_inference(made, 5, max_elements=EXAMPLES, reports=[lambda _: None])
    assert found["chips"] == local["chips"]
    runs = found["inference_runs"]
    assert runs["inference_results"] == local["inference_runs"]["inference_results"]
    assert (runs["inference_repeat"], runs["is_partial"]) == (2, False)
    assert [entry["epoch"] for entry in sent.metrics()] == [0, 1]
    returned: Any = sent.get_experiment()
    assert isinstance(returned, aj.BasicInferencing)
    np.testing.assert_allclose(returned.model.layers[1].get_weights()[0], weights, atol=1e-6)
