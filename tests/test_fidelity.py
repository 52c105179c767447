"""The rule of agreement, the steps of a case, and the runner."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.console

from aihwjax import fidelity
from aihwjax.errors import ConfigError, DataError
from aihwjax.fidelity.agreement import QUANTILES, Statistics, Values, compare, ratio, statistics
from aihwjax.fidelity.cases import TileCase, TrainingCase
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
