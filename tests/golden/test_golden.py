"""Every golden case: our statistics are those of the reference.

The cases are read from the folder ``AIHWJAX_GOLDEN`` if it is set, else from ``../shared/golden``
beside the project if it is there, else from the copy in ``tests/golden/data``; directed cases
are always read from that copy. One class a family, so that families are spread over test
workers and cases that share a compile are not.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from aihwjax.fidelity import MODES, Case, evaluate, families_in, has_update, load, sampling
from aihwjax.fidelity.cases import TileCase, matches
from aihwjax.fidelity.running import grouped
from aihwjax.reference import from_reference
from tests.golden import data

FAMILIES = (
    "device_parameters",
    "pulse_response",
    "update",
    "joint",
    "mvm",
    "tile_ops",
    "modifier",
    "compounds",
    "noise_model",
    "drift_compensation",
    "input_range",
    "training",
    "directed",
)
"""Families that the library is meant to pass."""

OWN = {"directed"}
"""Families that are measured from a table of this project (``benchmarks.directed``), not given to it."""

QUICK = {
    "device_parameters/ConstantStep",
    "device_parameters/SoftBoundsReference-3",
    "pulse_response/ConstantStep",
    "update/constant-default",
    "update/constant-none",
    "update/constant-none_with_device",
    "update/ideal",
    "mvm/default",
    "mvm/perfect",
    "tile_ops/decay",
    "tile_ops/diffusion",
    "tile_ops/drift",
    "tile_ops/drift-k",
    "tile_ops/write_noise-set_weights",
    "modifier/discretize",
    "modifier/add_normal-last",
    "modifier/clip-gaussian-cap",
    "compounds/tt-plain",
    "noise_model/convert-SinglePair-g_min",
    "noise_model/convert-NPair-3",
    "noise_model/PCM",
    "noise_model/Wan-noise_scale",
    "drift_compensation/PerColumn-perfect",
    "input_range/no-init",
    "input_range/calibrate-MAX",
    "directed/one_pulse/ConstantStep",
    "directed/outside/soft-additive-once",
}
"""Cases that run on every test run; one of each family, and of kinds that are quick."""

SEQUENTIAL = {
    "update/constant-default",
    "update/constant-batch20",
    "update/softbounds-saturate",
    "update/softbounds-write_noise",
    "update/linear-add_noise",
    "update/expstep",
    "update/piecewise",
    "update/powstep_reference",
    "directed/outside/soft-additive-turn",
    "directed/outside/pow-turn",
    "directed/choppers/out",
    "directed/reset/Vector",
    "directed/cells/OneSided-average_abs_max",
}
"""Cases of both update modes that run pulse by pulse at each run of the checks, one of each kind; every week all do."""

DIRECTED = {
    "outside": {"soft-additive-once", "soft-additive-turn", "soft-additive-batch", "soft-additive-one_burst"}
    | {"soft-multiplicative-once", "soft-multiplicative-one_burst", "pow-once", "pow-turn", "Transfer"},
    "stuck": {"PowStepReference-stuck-1", "PowStepReference-stuck-10", "SoftBoundsReference-stuck-1"}
    | {"ExpStep-stuck-write_noise", "PowStep-frozen-write_noise"},
    "reset": {"Vector", "OneSided", "Transfer-three-certain", "Chopped-random"},
    "choppers": {"out", "out-rows", "out-idle", "dynamic-random"},
    "cells": {"OneSided-average_abs_max", "Reference-all", "Reference-write_noise"},
    "written": {"OneSided-second-decays", "Transfer-third-decays"},
    "floating": {"hidden"},
    "mixed": {"x_bins-1x1", "never-1x1"},
    "one_pulse": {"ConstantStep", "Transfer", "default"},
}
"""Rows of the directed cases that are tests, a few of each group; `aihwjax fidelity` takes all."""


def folder() -> Path:
    """Return where the golden files are."""
    chosen = os.environ.get("AIHWJAX_GOLDEN")
    if chosen:
        return Path(chosen)
    beside = Path(__file__).resolve().parents[3] / "shared" / "golden"
    return beside if beside.is_dir() else data.FOLDER


@functools.cache
def _loaded(place: Path, family: str) -> list[Case]:
    return load(place, [family])


def cases(family: str, pattern: str | None = None) -> list[Case]:
    """Return the cases of a family that the library is meant to pass."""
    place = data.FOLDER if family in OWN else folder()
    if family not in families_in(place):
        return []
    found = [case for case in _loaded(place, family) if matches(case.name, pattern)]
    if family != "directed":
        return found
    chosen = {f"directed/{group}/{name}" for group, names in DIRECTED.items() for name in names}
    return [case for case in found if case.name in chosen]


def golden(
    family: str, pattern: str | None = None, modes: Iterable[str | None] = ("aggregated",)
) -> pytest.MarkDecorator:
    """Return the mark that runs a class once for each case and update mode; all but the quick ones are slow.

    Each case runs in one mode at least; those that run pulse by pulse as well are a few.

    Cases that differ in numbers only follow each other, so that a worker compiles their program once.
    """
    modes, parameters = tuple(modes), []
    tasks = [(c, m) for m in modes for c in cases(family, pattern) if m == modes[0] or has_update(c)]
    for case, mode in itertools.chain.from_iterable(grouped(tasks)):
        in_turn = mode == "sequential"
        quick = case.name in QUICK and not in_turn
        seldom = in_turn and case.name not in SEQUENTIAL and family != "joint"
        marks = () if quick else (pytest.mark.exhaustive if seldom else pytest.mark.slow,)
        name = case.name if len(modes) == 1 else f"{case.name}-{mode}"
        parameters.append(pytest.param(case, mode, id=name, marks=marks))
    return pytest.mark.parametrize(("case", "mode"), parameters)


class Agreement:
    """The one test of every family."""

    repeats: int | None = None
    """Tiles of ours behind a statistic; ``None``: as many as the reference's."""

    def test_agrees_with_the_reference(self, case: Case, mode: str | None) -> None:
        record = evaluate(case, mode, self.repeats)
        assert record.passed, record.message


@golden("device_parameters", modes=[None])
class TestDeviceParameters(Agreement):
    """Parameters of each crosspoint after construction."""


@pytest.mark.runs_long
@golden("pulse_response")
class TestPulseResponse(Agreement):
    """One certain pulse after the other: here the two update modes do the same."""


@pytest.mark.runs_long
@golden("update")
class TestUpdate(Agreement):
    """Pulse types and management, as many pulses at once as the device allows."""


@pytest.mark.runs_long
@golden("update", modes=["sequential"])
class TestSequentialUpdate(Agreement):
    """Pulse types and management, pulse by pulse: the slowest, and `aihwjax fidelity` takes as many as everywhere."""

    repeats = 1500


@pytest.mark.runs_long
@golden("joint")
class TestJoint(Agreement):
    """What is shared by rows, columns and outputs."""


@pytest.mark.runs_long
@golden("joint", "update-*", modes=["sequential"])
class TestSequentialJoint(Agreement):
    """What is shared by rows and columns, pulse by pulse."""


@golden("mvm", modes=[None])
class TestProduct(Agreement):
    """Forward and backward products."""


@golden("tile_ops", modes=[None])
class TestMaintenance(Agreement):
    """Decay, diffusion, drift, reset, end of batch, writing."""


@golden("modifier", modes=[None])
class TestModifier(Agreement):
    """Weights as training reads them."""


@golden("compounds", "compounds/[vo]*")
class TestUnitCells(Agreement):
    """Vector and one-sided cells."""


@golden("compounds", "compounds/[acmt]*-*")
class TestCompounds(Agreement):
    """Tiki-Taka and its descendants, mixed precision."""


@golden("compounds", "compounds/[A-Z]*")
class TestPresets(Agreement):
    """Presets of unit cells and compounds."""


@golden("noise_model", "noise_model/convert-*", modes=[None])
class TestConverters(Agreement):
    """Weights to conductances and back."""


@golden("noise_model", "noise_model/[!c]*", modes=[None])
class TestNoiseModels(Agreement):
    """Weights after programming and at several times."""


@golden("drift_compensation", modes=[None])
class TestDriftCompensation(Agreement):
    """Outputs and factor of the compensation after programming and drift."""


@golden("input_range", "input_range/[!c]*", modes=[None])
class TestInputRange(Agreement):
    """The input range after each step of training."""


@golden("input_range", "calibrate-*", modes=[None])
class TestCalibration(Agreement):
    """Input ranges of two layers after a calibration."""


@pytest.mark.runs_long
@golden("training", "*-b64")
class TestTraining(Agreement):
    """Networks trained with mini-batches of 64."""


@pytest.mark.runs_long
@golden("training", "*-b8")
class TestTrainingInSmallBatches(Agreement):
    """Networks trained with mini-batches of 8."""


@golden("directed", modes=MODES)
class TestDirected(Agreement):
    """Places where implementations easily differ, measured by the project itself."""


def test_a_case_that_differs_in_numbers_only_compiles_nothing() -> None:
    groups = grouped([(case, None) for case in cases("mvm")])
    assert sum(map(len, groups)) == len(cases("mvm")) > len(groups)
    first, second = (case for case, _ in groups[0][:2])
    assert isinstance(first, TileCase) and isinstance(second, TileCase)
    assert first.config != second.config
    sampling.sample(first, from_reference(first.config), tiles=4)
    programs = sampling._simulate._cache_size()
    sampling.sample(second, from_reference(second.config), tiles=4)
    assert sampling._simulate._cache_size() == programs > 0


def test_the_copy_in_the_repository_is_complete() -> None:
    counts = {family: len(load(data.FOLDER, [family])) for family in FAMILIES}
    expected = {"device_parameters": 57, "pulse_response": 57, "update": 38, "joint": 12, "mvm": 41, "tile_ops": 14}
    chips = {"noise_model": 97, "drift_compensation": 20, "input_range": 44}
    assert counts == {**expected, "modifier": 25, "compounds": 66, **chips, "training": 27, "directed": 138}


def test_the_quick_cases_are_there() -> None:
    assert {case.name for family in FAMILIES for case in cases(family)} >= QUICK
