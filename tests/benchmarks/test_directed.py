"""Directed cases: the table, its golden files, and the drawing of cases; the reference is a stand-in."""

import sys

import numpy as np
import pytest

from aihwjax.errors import AihwjaxError
from aihwjax.fidelity import judge, load
from aihwjax.fidelity.program import compiled
from aihwjax.reference import from_reference
from benchmarks.directed import golden, table
from benchmarks.directed.case import Directed, even, flat, group, single
from benchmarks.directed.drawing import KINDS, draw, varied
from benchmarks.directed.peer import Reference
from benchmarks.worker import WorkerError

STAND_IN = """
import json, sys
import numpy as np
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["op"] == "flatten":
        print(json.dumps({"config": {**request["config"], "added": 1}}), flush=True)
    elif request["config"].get("odd"):
        print(json.dumps({"error": "ConfigError: odd"}), flush=True)
    else:
        inputs = np.load(request["inputs"])
        np.savez(request["results"], w=np.stack([inputs["w0"]] * request["repeats"]))
        print(json.dumps({"seconds": 0.1}), flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    """A virtual environment whose Python is the stand-in, whatever it is asked to run."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/stand_in.py"\n')
    python.chmod(0o755)
    return tmp_path


def small(**config):
    steps = [["set_weights", "w0"], ["weights", "w"]]
    return Directed("x", config, (2, 3), {"w0": np.arange(6.0).reshape(2, 3)}, steps, 5)


def test_groups_and_lists_become_flat():
    nested = {"device": group("Cell", devices=[group("One", a=1), group("Two")]), "b": []}
    assert flat(nested) == {
        "device.__class__": "Cell",
        "device.devices.__len__": 2,
        "device.devices.0.__class__": "One",
        "device.devices.0.a": 1,
        "device.devices.1.__class__": "Two",
        "b.__len__": 0,
    }


def test_the_reference_is_driven(folder):
    with Reference(folder) as reference:
        assert reference.completed({"a": 2}) == {"a": 2, "added": 1}
        samples = reference.samples(small())
        assert samples["w"].shape == (5, 2, 3) and reference.samples(small(), 7)["w"].shape == (7, 2, 3)
        with pytest.raises(WorkerError, match="odd"):
            reference.samples(small(odd=True))


def test_a_folder_without_python_is_refused(tmp_path):
    with pytest.raises(WorkerError, match="no bin/python"):
        Reference(tmp_path)


def test_golden_files_hold_what_was_measured(tmp_path):
    case = Directed(
        "x",
        single(even("ConstantStepDevice")),
        (2, 3),
        {"w0": np.ones((2, 3))},
        [["set_weights", "w0"], ["weights", "w"]],
        50,
    )
    samples = {"w": np.random.default_rng(0).normal(1, 0.1, (50, 2, 3))}
    made = golden.tile_case(case, case.config, samples)
    golden.write([made, made], tmp_path, "a test")
    first, second = load(tmp_path, [golden.FAMILY])
    assert first.name == second.name == "directed/x" and first.steps == tuple(map(tuple, case.steps))
    assert judge(first, samples).passed and not judge(first, {"w": samples["w"] + 1}).passed
    assert golden.directed_of(first).repeats == 50


def test_rows_of_the_table_can_be_run():
    rows = table.cases()
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert compiled(golden.tile_case(row, row.config, {"w": np.zeros((1, *row.shape))})).program


def test_drawn_cases_are_the_same_again():
    for seed in range(60):
        one, other = draw(seed), draw(seed)
        assert one.config == other.config and list(one.steps) == list(other.steps)
        assert compiled(golden.tile_case(one, one.config, {"w": np.zeros((1, 1))})).program
    assert {draw(seed).name.partition("/")[0] for seed in range(60)} == set(KINDS)


def test_variants_share_a_program():
    for seed in range(60):
        case = draw(seed)
        other = varied(case, 1)
        assert varied(case, 0) is case and varied(case, 1).config == other.config
        programs = [
            compiled(golden.tile_case(row, row.config, {"w": np.zeros((1, 1))})).program for row in (case, other)
        ]
        assert programs[0] == programs[1]
        assert set(case.config) == set(other.config)


def test_most_drawn_configurations_are_allowed():
    refused = 0
    for seed in range(60):
        try:
            from_reference(draw(seed).config)
        except AihwjaxError:
            refused += 1
    assert refused < 12
