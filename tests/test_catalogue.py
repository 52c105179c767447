"""Configurations are found by name, whatever is the first thing that a program asks for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aihwjax

FLAT = "{'__class__': 'SingleRPUConfig', 'device.__class__': 'ConstantStepDevice', 'device.dw_min': 0.01}"
FIRST_CALLS = {
    "reference": f"import aihwjax as aj; print(aj.config.from_reference({FLAT}).device.dw_min)",
    "reference, name": f"from aihwjax.config import from_reference; print(from_reference({FLAT}).device.dw_min)",
    "reference, module": f"import aihwjax.config; print(aihwjax.config.from_reference({FLAT}).device.dw_min)",
    "dictionary": "import aihwjax as aj; print(aj.config.from_dict({'class': 'ExpStepDevice', 'dw_min': 0.01}).dw_min)",
    "toml": "import aihwjax as aj; print(aj.config.from_toml('class = \"UpdateParameters\"\\nres = 0.01').res)",
    "json": 'import aihwjax as aj; print(aj.config.from_json(\'{"class": "TransferCompound", "gamma": 0.01, '
    '"unit_cell_devices": [{"class": "ExpStepDevice"}, {"class": "ExpStepDevice"}]}\').gamma)',
}


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.parametrize("program", FIRST_CALLS.values(), ids=list(FIRST_CALLS))
def test_first_call(program: str) -> None:
    assert run(program) == "0.01"


def test_every_configuration_is_found() -> None:
    """In a process that has imported nothing but the ground floor."""
    names = [
        node.name
        for path in sorted(Path(aihwjax.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(mark, ast.Name) and mark.id == "configclass" for mark in node.decorator_list)
    ]
    assert len(names) > 30
    program = (
        "from aihwjax.config import registered\n"
        f"for name in {names!r}: assert registered(name).__name__ == name\n"
        "print('found')"
    )
    assert run(program) == "found"


def test_an_unknown_name_gets_the_nearest_of_all() -> None:
    program = (
        "import aihwjax as aj\n"
        "try: aj.config.from_dict({'class': 'SoftBoundDevice'})\n"
        "except aj.ConfigError as error: print(error)"
    )
    assert "SoftBoundsDevice" in run(program)


def test_import_is_quick() -> None:
    """What takes its time is imported when it is used."""
    assert run("import sys, aihwjax; print({'jax', 'numpy', 'aihwjax.config'} & set(sys.modules))") == "set()"
