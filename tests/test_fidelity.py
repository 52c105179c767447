"""The rule of agreement, the steps of a case, and the runner."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import rich.console

from aihwjax import cli, fidelity
from aihwjax.errors import ConfigError, DataError, MissingExtraError
from aihwjax.fidelity.agreement import QUANTILES, Statistics, Values, compare, ratio, statistics
from aihwjax.fidelity.cases import TileCase, TrainingCase
from aihwjax.fidelity.evidence import differences, record_evidence
from aihwjax.fidelity.pictures import pictures
from aihwjax.fidelity.program import compiled
from aihwjax.fidelity.training import compare_runs
from aihwjax.reference import from_reference

N = 4000
SHAPE = (12, 16)
RUNS = range(8)


def reference(samples: Values, pooled: bool = False) -> Statistics:
    plain = statistics(samples)
    quantiles = np.quantile(samples, QUANTILES) if pooled else None
    return Statistics(plain.n, plain.mean, plain.std, plain.m4, quantiles)


def normal(seed: int, mean: float = 0.1, std: float = 0.02, shape: tuple[int, ...] = SHAPE, n: int = N) -> Values:
    return mean + std * np.random.default_rng(seed).standard_normal((n, *shape))


# ------------------------------------------------------------------------ agreement
LAWS: dict[str, Callable[[np.random.Generator], Values]] = {
    "normal": lambda rng: 0.1 + 0.02 * rng.standard_normal((N, *SHAPE)),
    "rare events": lambda rng: (rng.random((N, *SHAPE)) < 0.002).astype(float),
    "heavy tails": lambda rng: 0.01 * rng.standard_t(5, (N, *SHAPE)),
    "shared by rows": lambda rng: 0.1 + rng.standard_normal((N, SHAPE[0], 1)) * np.ones(SHAPE),
    "deterministic": lambda rng: np.full((N, *SHAPE), 0.25) + 1e-7 * rng.random(SHAPE),
    "few elements": lambda rng: rng.exponential(1.0, (N, 3)),
}


@pytest.mark.parametrize("law", LAWS)
def test_a_sample_of_the_same_law_passes(law: str) -> None:
    draw = LAWS[law]
    verdicts = [
        compare(reference(draw(np.random.default_rng(2 * i))), draw(np.random.default_rng(2 * i + 1))) for i in RUNS
    ]
    assert [verdict.message for verdict in verdicts if not verdict.passed] == []
    assert all(verdict.worst < 2 for verdict in verdicts)


@pytest.mark.parametrize("seed", RUNS)
def test_a_pooled_sample_of_the_same_law_passes(seed: int) -> None:
    theirs = np.random.default_rng(seed).gamma(2.0, 0.1, 12_000)
    ours = np.random.default_rng(1000 + seed).gamma(2.0, 0.1, 90_000)
    assert compare(reference(theirs, pooled=True), ours, pooled=True).passed


WRONG: dict[str, tuple[Values, str]] = {
    "mean 3 % too large": (normal(1, mean=0.103, std=0.005), "mean"),
    "spread 8 % too large": (normal(1, std=0.005 * 1.08), "mean variance"),
    "spread 8 % too small": (normal(1, std=0.005 * 0.92), "mean variance"),
    "one element far off": (
        normal(1, std=0.005) + 0.02 * (np.arange(192).reshape(SHAPE) == 7),
        r"worst: \[0, 7\] mean",
    ),
    "three elements off": (normal(1, std=0.005) + 1.1e-3 * (np.arange(192).reshape(SHAPE) < 3), "3 of 192"),
    "one element spread": (
        0.1 + (normal(1, std=0.005) - 0.1) * (1 + 0.5 * (np.arange(192).reshape(SHAPE) == 7)),
        r"\[0, 7\] spread",
    ),
    "not a number": (normal(1) * np.where(np.arange(192).reshape(SHAPE) == 7, np.nan, 1), "nan"),
    "another shape": (normal(1, shape=(12, 15)), "shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_sample_of_another_law_fails(name: str) -> None:
    ours, message = WRONG[name]
    verdict = compare(reference(normal(0, std=0.005)), ours)
    assert not verdict.passed
    assert verdict.worst > 1
    assert re.search(message, verdict.message)


def test_one_element_in_a_hundred_may_exceed() -> None:
    spot = 6e-4 * (np.arange(192).reshape(SHAPE) == 7)
    theirs = reference(normal(0, std=0.005))
    verdict = compare(theirs, normal(0, std=0.005) + spot * 1.3)
    assert verdict.passed
    assert 1 < verdict.worst < 2


def test_small_record_may_not_exceed_at_all() -> None:
    theirs = reference(normal(0, std=0.005, shape=(12,)))
    spot = 8e-4 * (np.arange(12) == 7)
    assert not compare(theirs, normal(0, std=0.005, shape=(12,)) + spot).passed


def test_mean_change_shrinks_against_the_start() -> None:
    start = np.full(SHAPE, 0.5)
    theirs = reference(normal(0, mean=0.51, std=0.02))
    assert compare(theirs, normal(1, mean=0.51, std=0.02), start=start).passed
    verdict = compare(theirs, normal(1, mean=0.5109, std=0.02), start=start)
    assert not verdict.passed
    assert "size of the mean change" in verdict.message


def test_quantiles_see_the_shape_that_moments_miss() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.standard_normal(12_000)
    ours = np.where(rng.random(90_000) < 0.5, 1.0, -1.0)
    verdict = compare(reference(theirs, pooled=True), ours, pooled=True)
    assert not verdict.passed
    assert "quantile" in verdict.message


def test_quantiles_forgive_ties() -> None:
    half = np.repeat([0.0, 1.0], [6000, 6000])
    assert compare(reference(half, pooled=True), np.repeat([0.0, 1.0], [45_000, 45_000]), pooled=True).passed


def test_ratio_of_nothing_to_nothing_is_zero() -> None:
    assert ratio(np.array([0.0, 1.0, np.nan]), np.array([0.0, 0.0, 1.0])).tolist() == [0.0, np.inf, np.inf]


# ---------------------------------------------------------------------------- cases
IDEAL = {"__class__": "SingleRPUConfig", "device.__class__": "IdealDevice", "device.diffusion": 0.02}
EXACT = {"__class__": "FloatingPointRPUConfig", "device.__class__": "FloatingPointDevice"}
W0 = np.linspace(-0.5, 0.5, 12).reshape(3, 4)
X = np.array([[1.0, -2.0, 0.5, 0.0], [0.0, 1.0, 1.0, -1.0]])
D = np.array([[1.0, 0.0, -0.5], [2.0, 1.0, 0.0]])


def exactly(values: Values, n: int = N) -> Statistics:
    return Statistics(n, values, np.zeros_like(values), np.zeros_like(values))


def case(steps: list[list[Any]], stats: dict[str, Statistics], config: dict[str, Any] | None = None) -> TileCase:
    return TileCase(
        name="own/case",
        family="own",
        config=config or EXACT,
        shape=(3, 4),
        steps=tuple(tuple(step) for step in steps),
        inputs={"w0": W0, "x": X, "d": D},
        stats=stats,
        repeats=N,
        pooled=False,
    )


def test_steps_do_what_they_say() -> None:
    after = W0 - 3 * 0.1 * D.T @ X
    steps = [
        ["set_weights", "w0"],
        ["update", "x", "d", 0.1, 3, False],
        ["weights", "w"],
        ["sums", "w"],
        ["forward", "x", "y", "pair"],
        ["backward", "d", "g"],
    ]
    stats = {
        "w": exactly(after),
        "w/rows": exactly(after.sum(1)),
        "w/columns": exactly(after.sum(0)),
        "w/all": exactly(after.sum(keepdims=True).reshape(1)),
        "y": exactly(X @ after.T),
        "y/difference": exactly(np.zeros((2, 3))),
        "g": exactly(D @ after),
    }
    record = fidelity.evaluate(case(steps, stats), "aggregated", repeats=8)
    assert record.passed, record.message
    assert record.mode == "aggregated"


def test_maintenance_steps_and_repeats_are_independent() -> None:
    diffused = Statistics(N, W0, np.full((3, 4), 0.04), np.full((3, 4), 3 * 0.04**4))
    steps = [["set_weights", "w0"], *[["diffuse"]] * 3, ["end_of_batch"], ["weights", "w"]]
    record = fidelity.evaluate(case(steps, {"w": diffused}, IDEAL))
    assert record.passed, record.message


def test_a_wrong_spread_does_not_pass() -> None:
    diffused = Statistics(N, W0, np.full((3, 4), 0.05), np.full((3, 4), 3 * 0.05**4))
    steps = [["set_weights", "w0"], *[["diffuse"]] * 4, ["weights", "w"]]
    record = fidelity.evaluate(case(steps, {"w": diffused}, IDEAL))
    assert not record.passed
    assert record.worst > 1
    assert "spread" in record.message


def test_pulses_up_and_down_fold_into_one_block() -> None:
    bursts = [step for i in range(5) for step in (["update", "x", "d", 0.1 * i, i, False], ["weights", f"w{i}"])]
    parts = compiled(case([["set_weights", "w0"], *bursts, ["diffuse"]], {}))
    assert [(len(block.pattern), block.repeats) for block in parts.program] == [(1, 1), (2, 5), (1, 1)]
    assert parts.numbers[1][0][3].tolist() == [0, 1, 2, 3, 4]
    assert parts.records[1][1] == ("w0", "w1", "w2", "w3", "w4")


def test_folded_blocks_give_what_single_steps_give() -> None:
    bursts = [step for i in range(3) for step in (["update", "x", "d", 0.1, i + 1, True], ["weights", f"w{i}"])]
    stats = {f"w{i}": exactly(W0 - 0.1 * (i + 1) * (i + 2) / 2 * D.T @ X) for i in range(3)}
    record = fidelity.evaluate(case([["set_weights", "w0"], *bursts], stats), repeats=4)
    assert record.passed, record.message


@pytest.mark.parametrize(
    ("steps", "stats", "config", "message"),
    [
        ([["polish", 3]], {}, None, "unknown step 'polish'"),
        ([["set_weights", "w1"]], {}, None, "unknown input 'w1'"),
        ([["decay"]], {}, None, "unknown step 'decay' with 0 arguments"),
        ([["weights", "w"]], {"v": exactly(W0)}, None, "v: not there; w: the reference has no such record"),
        ([["reset", 0, 1, 1.0]], {}, None, "cannot be reset"),
        ([], {}, {**EXACT, "device.__class__": "ThreeStepDevice"}, "unknown device class"),
        ([["update", "x", "w0", 0.1, 1, False]], {}, None, "d has shape"),
    ],
)
def test_what_cannot_run_is_a_record(
    steps: list[list[Any]], stats: dict[str, Statistics], config: dict[str, Any] | None, message: str
) -> None:
    record = fidelity.evaluate(case(steps, stats, config), repeats=4)
    assert not record.passed
    assert message in record.message


def test_same_seed_same_sample() -> None:
    steps = [["set_weights", "w0"], ["diffuse"], ["weights", "w"]]
    subject = case(steps, {}, IDEAL)
    config = from_reference(IDEAL)
    first, again, other = (fidelity.sample(subject, config, 16, seed)["w"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first[:, 0, 0])) == 16


# --------------------------------------------------------------------------- runner
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a family of two cases: one that agrees, one that can't run."""
    after = (W0 - 0.1 * D.T @ X).astype(np.float32)
    arrays = {"w0": W0, "x": X, "d": D, "mean": after, "std": np.zeros((3, 4)), "m4": np.zeros((3, 4))}
    np.savez(tmp_path / "own.npz", **arrays)
    steps = [["set_weights", "w0"], ["update", "x", "d", 0.1, 1, False], ["weights", "w"]]
    base = {
        "family": "own",
        "shape": [3, 4],
        "steps": steps,
        "inputs": {"w0": "w0", "x": "x", "d": "d"},
        "stats": {"w": {"n": 100, "mean": "mean", "std": "std", "m4": "m4"}},
        "repeats": 100,
        "pooled": False,
    }
    good = {**base, "name": "own/good", "config": EXACT}
    bad = {**base, "name": "own/bad", "config": {**EXACT, "device.__class__": "ThreeStepDevice"}}
    (tmp_path / "own.json").write_text(json.dumps({"format_version": 2, "cases": [good, bad]}))
    return tmp_path


def test_run_gives_one_record_a_case_and_mode(folder: Path, tmp_path: Path) -> None:
    seen: list[fidelity.Record] = []
    records = fidelity.run(folder, modes=fidelity.MODES, jobs=1, repeats=4, on_record=seen.append)
    assert [(record.name, record.mode, record.passed) for record in records] == [
        ("own/good", "aggregated", True),
        ("own/good", "sequential", True),
        ("own/bad", "aggregated", False),
        ("own/bad", "sequential", False),
    ]
    assert sorted(map(repr, seen)) == sorted(map(repr, records))
    fidelity.write_json(records, tmp_path / "deep" / "out.json")
    entries = json.loads((tmp_path / "deep" / "out.json").read_text())
    assert [entry["name"] for entry in entries] == [record.name for record in records]
    assert entries[0]["worst"] < 1
    assert entries[2]["worst"] is None
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "out.json"]


def test_families_are_added_up(folder: Path) -> None:
    records = fidelity.run(folder, jobs=1, repeats=4)
    (family,) = fidelity.families(records)
    assert family[:3] == ("own", 2, 1)
    assert family.worst == np.inf
    assert family.seconds == pytest.approx(sum(record.seconds for record in records))
    console = rich.console.Console(width=160, record=True)
    console.print(fidelity.family_table(records))
    assert "own" in console.export_text()


# --------------------------------------------------------------------------- report
class Page(HTMLParser):
    """Collects what a page holds and checks that its elements are nested."""

    VOID: ClassVar[set[str]] = {"meta", "input", "path", "link", "img", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def evidence_of(records: dict[str, tuple[Statistics, Values]], pooled: bool = False) -> fidelity.Evidence:
    return fidelity.Evidence(
        records=tuple(
            record_evidence(name, compare(theirs, ours, pooled=pooled), theirs, ours, pooled)
            for name, (theirs, ours) in records.items()
        )
    )


def test_report_holds_every_case_and_no_address(folder: Path) -> None:
    records = fidelity.run(folder, jobs=1, repeats=4, keep=True)
    text = fidelity.html(records)
    page = Page(text)
    for record in records:
        assert record.name in page.words
    assert "1 of 2 cases agree" in page.words
    assert "unknown device class" in page.words
    assert "w: mean" in page.words
    assert page.tags.count("details") == 2
    assert page.tags.count("svg") == 3
    assert not {"script", "link", "img"} & set(page.tags)
    assert "://" not in text
    assert all(value.startswith("#") for name, value in page.attributes if name in ("href", "src"))


def test_report_escapes_what_files_say() -> None:
    name = 'own/<em>&"case'
    evidence = evidence_of({"<i>w": (reference(normal(0)), normal(1))})
    evidence = dataclasses.replace(evidence, config=("device: <script>",))
    page = Page(fidelity.html([fidelity.Record(name, "own", True, 0.5, 1.0, None, "<u>", evidence)]))
    assert not {"em", "i", "u", "script"} & set(page.tags)
    for text in (name, "<i>w: mean", "device: <script>", "<u>"):
        assert text in page.words


def test_pictures_show_where_ours_leave_the_band() -> None:
    ours = normal(1, std=0.005) + 0.02 * (np.arange(192).reshape(SHAPE) == 7)
    shapes = pictures(evidence_of({"w": (reference(normal(0, std=0.005)), ours)}))
    mean, spread, deviations = shapes
    assert [picture.title for picture in shapes] == ["w: mean", "w: spread", "w: deviation over allowed"]
    assert sum(shape.path.count("M") for shape in mean.shapes if shape.kind == "dots beyond") == 1
    assert not any(shape.kind == "dots beyond" for shape in spread.shapes)
    assert sum(len(shape.path) for shape in deviations.shapes) < 4000


def test_pooled_records_are_drawn_as_one_series_and_hidden_ones_alone() -> None:
    def pooled(seed: int) -> tuple[Statistics, Values]:
        draws = np.random.default_rng(seed).standard_normal((2, 5000))
        return reference(draws[0], pooled=True), draws[1]

    evidence = evidence_of({"up_1": pooled(0), "up_2": pooled(1), "hidden/max_bound": pooled(2)}, pooled=True)
    series, hidden = pictures(evidence)
    assert [label for _, label in series.x_ticks] == ["up_1", "up_2"]
    assert hidden.title == "max_bound"
    assert evidence.records[0].our_quantiles == pytest.approx(np.quantile(pooled(0)[1], QUANTILES), rel=1e-4)


def test_runs_are_drawn_by_epoch() -> None:
    evidence = fidelity.Evidence(runs=(("valid_loss", runs(0, 0.8), runs(1, 0.8)),))
    (picture,) = pictures(evidence)
    assert picture.title == "valid loss"
    assert [label for _, label in picture.x_ticks] == ["1", "2", "3"]
    assert [shape.kind for shape in picture.shapes].count("dots mine small") == 5


def test_configuration_is_told_by_its_differences() -> None:
    config = from_reference(
        {"__class__": "SingleRPUConfig", "device.__class__": "SoftBoundsDevice", "device.dw_min": 0.005}
    )
    assert [line for line in differences(config) if line.startswith("device")] == [
        "device: SoftBoundsDevice",
        "device.dw_min = 0.005",
    ]
    assert "reference_quirks = True" in differences(config)


def test_command_writes_report_and_records(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--json", str(folder / "out.json"), "--html", str(folder / "out.html")]
    assert cli.main(["fidelity", str(folder), "--jobs", "1", *files]) == 1
    assert "Families" in capsys.readouterr().out
    assert set(json.loads((folder / "out.json").read_text())[0]) == {
        "name", "family", "passed", "worst", "seconds", "mode", "message"
    }  # fmt: skip
    assert "own/good" in Page((folder / "out.html").read_text()).words


def test_report_without_its_library_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r'pip install "aihwjax\[report\]"'):
        fidelity.html([])
    assert cli.main(["fidelity", str(folder), "--html", str(folder / "out.html")]) == 2


@pytest.mark.slow
def test_processes_give_the_same_records(folder: Path) -> None:
    alone = fidelity.run(folder, jobs=1, repeats=4)
    spread = fidelity.run(folder, jobs=2, repeats=4)
    assert [(r.name, r.passed, r.worst, r.message) for r in alone] == [
        (r.name, r.passed, r.worst, r.message) for r in spread
    ]


def test_table_shows_verdicts_and_count(folder: Path) -> None:
    records = fidelity.run(folder, jobs=1, repeats=4)
    console = rich.console.Console(width=160, record=True)
    console.print(fidelity.table(records))
    text = console.export_text()
    assert "own/good" in text
    assert "FAIL" in text
    assert "1 of 2 cases agree" in text


def test_pattern_matches_with_and_without_family(folder: Path) -> None:
    for pattern in ("good", "own/g*", "go?d"):
        assert [found.name for found in fidelity.load(folder, pattern=pattern)] == ["own/good"]


def broken(folder: Path, text: str) -> Path:
    (folder / "own.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"families": ["owm"]}, "family='owm' is not in.*did you mean 'own'"),
        ({"pattern": "nothing*"}, "matches no case"),
        ({"modes": ["fast"]}, "mode='fast' is not allowed"),
        ({"jobs": 0}, "jobs=0 is not allowed"),
        ({"repeats": 0}, "repeats=0 is not allowed"),
    ],
)
def test_wrong_arguments_are_named(folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        fidelity.run(folder, **arguments)


def test_empty_folder_and_damaged_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no golden files"):
        fidelity.load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"'own'.*is damaged"):
        fidelity.load(broken(folder, "{"))
    with pytest.raises(DataError, match="format_version=1"):
        fidelity.load(broken(folder, '{"format_version": 1, "cases": []}'))
    (folder / "own.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"'own'.*is damaged"):
        fidelity.load(broken(folder, '{"format_version": 2, "cases": []}'))


# ------------------------------------------------------------------------- training
def runs(seed: int, mean: float, spread: float = 0.01) -> Values:
    return mean + spread * np.random.default_rng(seed).standard_normal((5, 3))


@pytest.mark.parametrize(
    ("name", "ours", "passed"),
    [
        ("accuracy", runs(1, 0.80), True),
        ("accuracy", runs(1, 0.75), False),
        ("accuracy", runs(1, 0.85), False),
        ("valid_loss", runs(1, 0.80), True),
        ("valid_loss", runs(1, 0.84, 0.001), True),
        ("valid_loss", runs(1, 0.90), False),
        ("accuracy", runs(1, np.nan), False),
    ],
)
def test_last_epochs_agree(name: str, ours: Values, passed: bool) -> None:
    verdict = compare_runs(name, runs(0, 0.80), ours)
    assert verdict.passed is passed
    assert bool(verdict.message) is not passed


def test_only_the_last_epoch_counts() -> None:
    ours = runs(1, 0.80)
    ours[:, :2] = 0.1
    assert compare_runs("accuracy", runs(0, 0.80), ours).passed


@pytest.mark.slow
def test_a_training_case_runs(tmp_path: Path) -> None:
    about = {
        "network": [784, 6, 10],
        "activation": "sigmoid",
        "dataset": "mnist10k",
        "n_train": 64,
        "n_valid": 32,
        "batch_size": 16,
        "learning_rate": 0.05,
        "epochs": 2,
    }
    never = np.full((2, 2), 1.0)
    subject = TrainingCase("own/training", "own", EXACT, about, {"valid_loss": never})
    record = fidelity.evaluate(subject, "sequential", repeats=2)
    assert "valid_loss: 2." in record.message
    unknown = TrainingCase("own/training", "own", EXACT, {**about, "activation": "sigmoyd"}, subject.runs)
    assert "did you mean 'sigmoid'" in fidelity.evaluate(unknown).message
