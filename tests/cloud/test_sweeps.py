"""Sweeps in the cloud: what is sent, what a job does with it, and what comes back."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aihwjax as aj
from aihwjax import cli
from aihwjax.cloud import CloudJobStatus, archive, document, run_sweep, sweep_section
from aihwjax.cloud.check import check
from aihwjax.cloud.sweeping import to_document
from aihwjax.errors import ArchiveError, ExperimentStatusError
from aihwjax.experiments import LogUniform, grid, load_data, sampled
from aihwjax.experiments.sweeping.table import simple
from aihwjax.sweep_results import network_entry, paths_of, rows_of
from tests.cloud import networks
from tests.server.live import Live, live
from tests.test_cli import EXPERIMENT

EXAMPLES = 40
KEY = 5
SPACE = {"device": [aj.ConstantStepDevice(dw_min=0.01), aj.SoftBoundsDevice(dw_min=0.02)], "learning_rate": [0.1, 0.4]}
DOCUMENT = to_document(networks.experiment(), SPACE, 2, KEY, EXAMPLES)
EXACT = networks.experiment(aj.FloatingPointRPUConfig())
TRAINED = {"batch_size": [8, 16], "learning_rate": [0.1, 0.4]}
"""Trained in two calls, which compile quickly."""
SECTION = """
[sweep]
seeds = 2

[sweep.space]
learning_rate = [0.1, 0.4]
"""


@pytest.fixture(scope="module")
def table() -> aj.experiments.SweepTable:
    """Return the table of the same sweep on this machine."""
    return aj.sweep(EXACT, TRAINED, 2, KEY, data=load_data(EXACT, None, EXAMPLES), progress=False)


def test_a_sweep_survives_the_journey(tmp_path: Path) -> None:
    described = document.from_document(document.loads(document.dumps(DOCUMENT)))
    assert described.sweep is not None
    assert described.sweep.points == grid(SPACE)
    texts = [[simple(point["device"]) for point in each] for each in (described.sweep.points, grid(SPACE))]
    assert texts[0] == texts[1]
    assert (described.sweep.seeds, described.sweep.memory, described.sweep.networks) == ([0, 1], None, 8)
    assert (described.key, described.max_elements_train) == (KEY, EXAMPLES)
    again: Any = described.experiment
    assert to_document(again, described.sweep.points, described.sweep.seeds, KEY, EXAMPLES) == DOCUMENT
    archive.pack(tmp_path / "a.tar", DOCUMENT, networks.model())
    told = check(str(tmp_path / "a.tar"), 1 << 30)
    assert (told["ok"], told["kind"], told["epochs"], told["longest"]) == (True, "Sweep", 8, 2)


def test_values_of_all_kinds_travel() -> None:
    adam = aj.named_optimizer("adam", learning_rate=0.01)
    points = [
        *sampled({"device.dw_min": LogUniform(1e-3, 1e-2)}, 2),
        {"optimizer": adam, "epochs": 1, "batch_size": 8},
        {"forward.noise_management": "NONE", "class_weights": [0.5] + [1.0] * 9},
        {"learning_rate": {"layers/1": 0.0, "default": 0.1}, "loss_function": "NLLLoss", "optimizer": None},
        {"layers/1:device.dw_min": 0.002},
    ]
    sent = document.loads(document.dumps(to_document(networks.experiment(), points, [3, 1])))
    found = document.from_document(sent).sweep
    assert found is not None
    assert found.points[:2] == points[:2]
    assert found.points[2]["optimizer"].entry() == adam.entry()
    assert found.points[4] == points[4]
    assert (found.seeds, found.epochs(2)) == ([3, 1], [2, 2, 1, 2, 2, 2])


@pytest.mark.parametrize(
    ("space", "text"),
    [
        ({"device.dw_mim": [0.1]}, "did you mean 'dw_min'"),
        ({"learning_rate": [0.1, -1.0]}, "learning_rate=-1.0"),
        ([], "space is empty"),
        ([{"loss_function": lambda y, t: 0.0}], r"space\[0\]: loss_function=<lambda> is not allowed in the cloud"),
        ({"epochs": [0]}, "epochs=0 is not allowed"),
        ({"epochs": [1_000_000]}, "1000000 rows"),
    ],
)
def test_a_space_that_is_not_allowed_is_refused_before_it_is_sent(space: Any, text: str) -> None:
    with pytest.raises(aj.ConfigError, match=text) as caught:
        run_sweep(networks.experiment(), space, api_token="aihwjax_0", api_url="http://127.0.0.1:1/")
    assert "\n" not in str(caught.value)


def test_an_inference_experiment_is_no_sweep_of_the_cloud() -> None:
    chips: Any = aj.BasicInferencing(aj.MNIST10K, networks.model(aj.InferenceRPUConfig()))
    with pytest.raises(aj.ConfigError, match="experiment=BasicInferencing is not allowed for a sweep in the cloud"):
        to_document(chips, {"inference_repeats": [1]})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (None, "sweep"),
        ({"points": []}, "sweep.points"),
        ({"points": [3]}, "sweep.points"),
        ({"points": [{"device.dw_mim": 1}]}, "sweep.points[0]"),
        ({"points": [{}, {"device": {"class": "Popen"}}]}, "sweep.points[1]"),
        ({"points": [{"device": {"class": "ConstantStepDevice", "dw_min": "x"}}]}, "sweep.points[0]"),
        ({"points": [{"device.dw_min": [[]]}]}, "sweep.points[0]"),
        ({"points": [{"batch_size": 10_000_000}]}, "sweep.points[0]"),
        ({"points": [{"epochs": None}]}, "sweep.points[0]"),
        ({"points": [{"epochs": 10**9}]}, "sweep"),
        ({"points": [{"dataset": "mnist"}]}, "sweep.points[0]"),
        ({"points": [{"optimizer": {"name": "mine"}}]}, "sweep.points[0]"),
        ({"points": [{"loss_function": "mine"}]}, "sweep.points[0]"),
        ({"seeds": 2}, "sweep.seeds"),
        ({"seeds": [-1]}, "sweep.seeds"),
        ({"seeds": list(range(10_001))}, "sweep"),
        ({"memory": 0}, "sweep.memory"),
        ({"way": "vmap"}, "sweep"),
        ({"halving": 3}, "sweep.halving"),
        ({"halving": {"metric": "valid_loss", "factor": 3, "last": 1}}, "sweep.halving"),
        ({"halving": {"metric": "valid_loss", "factor": 1}}, "sweep"),
        ({"halving": {"metric": "own", "factor": 3}}, "sweep"),
        ({"halving": {"metric": "valid_loss", "factor": 3}, "points": [{"epochs": 1}, {}]}, "sweep"),
    ],
)
def test_a_section_that_is_not_allowed_is_refused_with_its_path(change: Any, field: str) -> None:
    section = None if change is None else {**DOCUMENT["sweep"], **change}
    with pytest.raises(ArchiveError) as caught:
        document.check({**DOCUMENT, "sweep": section})
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_halving_travels() -> None:
    asked = sweep_section.Halving("accuracy", 2, 1, "largest")
    sent = document.loads(document.dumps(to_document(EXACT, TRAINED, 1, KEY, EXAMPLES, halving=asked)))
    described = document.from_document(sent)
    assert described.sweep is not None and described.sweep.halving == asked
    with pytest.raises(aj.ConfigError, match="halving=1 is not allowed"):
        run_sweep(EXACT, TRAINED, halving=1, api_token="aihwjax_0", api_url="http://127.0.0.1:1/")


def test_a_training_has_no_section_and_a_sweep_keeps_no_model() -> None:
    with pytest.raises(ArchiveError, match="sweep is not allowed in a BasicTraining"):
        document.check({**DOCUMENT, "kind": "BasicTraining"})
    with pytest.raises(ArchiveError, match="keep_best is not allowed in a sweep"):
        document.check({**DOCUMENT, "experiment": {**DOCUMENT["experiment"], "keep_best": "accuracy"}})
    assert sweep_section.KIND == "Sweep"


def test_rows_are_those_of_entries_in_any_order() -> None:
    rows: list[dict[str, Any]] = [
        {"index": i, "seed": s, "x": i / 2, "epoch": e, "valid_loss": 0.5, "diverged": False}
        for i in (0, 1)
        for s in (0, 1)
        for e in (0, 1)
    ]
    entries = [network_entry(n, rows[2 * n : 2 * n + 2], ["x"], 1.0) for n in (3, 0, 2, 1)]
    assert (entries[0]["epoch"], entries[0]["valid_loss"], entries[0]["time_epoch"]) == (3, 0.5, 1.0)
    assert rows_of(json.loads(json.dumps(entries))) == rows
    assert paths_of(rows, entries) == ("x",)
    with pytest.raises(ValueError, match="entry 0 is none of a network"):
        rows_of([{"epoch": 0}])


def test_a_job_that_was_interrupted_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: aj.experiments.SweepTable
) -> None:
    from aihwjax.server.workers import job

    archive.pack(tmp_path / job.INPUT, to_document(EXACT, TRAINED, 2, KEY, EXAMPLES), EXACT.model)
    assert job.main(tmp_path, None) == 0
    out = capsys.readouterr().out
    assert "8 networks, 2 programs, 2 calls" in out
    assert "call 2 of 2: 4 networks in " in out
    lines = (tmp_path / job.METRICS).read_text().splitlines(keepends=True)
    assert rows_of(map(json.loads, lines)) == table.rows
    with (tmp_path / job.OUTPUT).open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["index"], row["seed"], row["epoch"]) for row in found] == [
        (str(row["index"]), str(row["seed"]), str(row["epoch"])) for row in table.rows
    ]
    # killed after the first call, while it wrote: the second one is trained again, the first one not
    (tmp_path / job.OUTPUT).unlink()
    (tmp_path / "sweep" / "rows-00001.jsonl").unlink()
    (tmp_path / job.METRICS).write_text("".join(lines[:4]) + lines[4][:30])
    assert job.main(tmp_path, None) == 0
    out = capsys.readouterr().out
    assert "going on after 4 networks" in out
    assert "call 2 of 2" in out and "call 1 of 2" not in out
    after = (tmp_path / job.METRICS).read_text().splitlines(keepends=True)
    assert after[:4] == lines[:4]
    assert rows_of(map(json.loads, after)) == table.rows
    # a folder that cannot be read is begun anew
    (tmp_path / job.OUTPUT).unlink()
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    assert job.main(tmp_path, None) == 0
    assert "starting anew: " in capsys.readouterr().out
    assert (tmp_path / job.METRICS).read_text().splitlines(keepends=True) == after


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("composer")
    with live(folder, folder) as server:
        yield server


def test_a_sweep_comes_back_as_the_table_of_this_machine(
    composer: Live,
    table: aj.experiments.SweepTable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    token = composer.token()
    options = {"max_elements_train": EXAMPLES, "api_url": composer.url, "api_token": token}
    sent = run_sweep(EXACT, TRAINED, 2, KEY, **options)
    assert sent.name == "mnist10k, sweep of 8 networks"
    assert sent.wait(timeout=300) is CloudJobStatus.COMPLETED, "\n".join(sent.logs())
    found = sent.get_result()
    assert (found.rows, found.paths) == (table.rows, table.paths)
    assert found.best() == table.best()
    assert [entry["epoch"] for entry in sent.metrics()] == list(range(8))
    sent.download(tmp_path / "cloud.csv")
    table.to_csv(tmp_path / "local.csv")
    assert (tmp_path / "cloud.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    with pytest.raises(ExperimentStatusError, match="is a sweep, which returns no model"):
        sent.get_experiment()
    # and from the command line
    monkeypatch.setenv("AIHWJAX_API_URL", composer.url)
    monkeypatch.setenv("AIHWJAX_API_TOKEN", token)
    capsys.readouterr()
    assert cli.main(["cloud", "status", sent.id]) == 0
    assert "8/8 networks" in capsys.readouterr().out
    assert cli.main(["cloud", "result", sent.id]) == 0
    assert "learning_rate" in capsys.readouterr().out
    assert cli.main(["cloud", "fetch", sent.id, "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "table.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


def test_a_file_with_a_sweep_is_submitted(
    composer: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIHWJAX_API_URL", composer.url)
    monkeypatch.setenv("AIHWJAX_API_TOKEN", composer.token("bob"))
    file = tmp_path / "rates.toml"
    file.write_text(EXPERIMENT.replace("= 120", "= 40") + SECTION)
    for words, text in (
        (["--set", "sweep.space.learning_rat=[1]"], "did you mean 'learning_rate'?"),
        (["--set", "sweep.halving=1"], "sweep.halving=1 is not allowed"),
        (["--keep-best", "accuracy"], "--keep-best and --best are not allowed for a sweep"),
    ):
        assert cli.main(["cloud", "submit", str(file), *words]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and text in captured.err and captured.err.count("\n") == 1
    assert cli.main(["cloud", "submit", str(file), "--set", "epochs=1", "--wait"]) == 0
    out = capsys.readouterr().out
    assert "learning_rate" in out and len(out.splitlines()) == 1 + 1 + 4
