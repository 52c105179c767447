"""Imports only point down: no module is part of a circle, and no layer knows one above it.

Every ``import`` of a file is an arrow, also in a function, under ``TYPE_CHECKING`` and in the stub
from which a package imports lazily.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aihwjax

ROOT = Path(aihwjax.__file__).parent
ROOF = "aihwjax"
"""``aihwjax/__init__.py``: above everything, so nothing imports it."""

LAYERS = (
    # the ground: no physics
    ("errors", "typing", "version", "moved", "catalogue", "derivatives", "loops", "precision", "products", "progress"),
    ("transposable", "replacing"),
    ("columns", "scores", "showing"),
    ("arguments",),
    ("chip_results", "sweep_results"),
    ("compiling", "random", "config"),
    ("pulses", "quantization"),
    # the physics
    ("devices",),
    ("inference.conductance", "inference.compensation"),
    ("inference.noise", "inference.defects"),
    ("tile.state", "tile.checks"),
    ("tile.product", "tile.pulsed_update"),
    ("tile.upkeep",),
    ("tile.config",),
    ("tile",),
    ("inference",),
    ("compounds",),
    ("presets",),
    ("fitting",),
    ("reference",),
    # what is trained
    ("nn",),
    ("schedules",),
    ("rates",),
    ("layer_rates",),
    ("optim", "linalg"),
    ("experiments",),
    # elsewhere
    ("cloud",),
    ("server.errors", "server.settings", "server.views"),
    ("server.storage",),
    ("server.core",),
    ("server.faces", "server.workers"),
    ("server",),
    # read from any layer, for people
    ("plot", "fidelity", "physics"),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""The modules of the package, from the bottom to the top. Those of one row don't know each other.

A folder whose parts are listed stands for its other files.
"""

Arrow = tuple[str, str]


def modules() -> dict[str, list[Path]]:
    """Return the files of every module: its code, and the stub beside a package that imports lazily."""
    found: dict[str, list[Path]] = {}
    for path in sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.pyi")]):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found.setdefault(".".join(parts[:-1] if parts[-1] == "__init__" else parts), []).append(path)
    return found


MODULES = modules()


def targets(module: str, path: Path) -> Iterator[str]:
    """Yield the modules that a file imports: of ``from package import x`` the submodule ``x``, if it is one."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inside = [f"{base}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else base for name in inside if base in MODULES)


ARROWS = {name: {*(t for path in paths for t in targets(name, path))} - {name} for name, paths in MODULES.items()}


def reached(start: str) -> set[str]:
    """Return what a module imports, directly or through others."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        new = ARROWS[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def circles() -> list[list[str]]:
    """Return the groups of modules in which each imports each, directly or through others."""
    below = {module: reached(module) for module in MODULES}
    groups = {frozenset(m for m in below[name] if name in below[m]) for name in MODULES if name in below[name]}
    return sorted(sorted(group) for group in groups)


def row(module: str) -> tuple[int, str]:
    """Return the row of a module and the entry it belongs to, the longest one that fits."""
    name = module.removeprefix(f"{ROOF}.")
    fitting = [
        (len(entry), number, entry)
        for number, entries in enumerate(LAYERS)
        for entry in entries
        if f"{name}.".startswith(f"{entry}.")
    ]
    if not fitting:
        raise LookupError(f"{shown(module)} has no row: add it to LAYERS in {Path(__file__).name}")
    return max(fitting)[1:]


def shown(module: str) -> str:
    """Return the file of a module."""
    return str(MODULES[module][0].relative_to(ROOT.parent))


def test_the_arrows_are_seen() -> None:
    assert "aihwjax.errors" in ARROWS["aihwjax.config.core"]
    assert "aihwjax.plot" in ARROWS["aihwjax.commands.plot"], "an import in a function"
    assert "aihwjax.pulses" in ARROWS["aihwjax.devices.device"], "an import under TYPE_CHECKING"
    assert "aihwjax.cloud.runner" in ARROWS["aihwjax.cloud"], "a lazy import"
    assert len(MODULES) > 200
    assert sum(map(len, ARROWS.values())) > 1000


@pytest.mark.parametrize("module", sorted({name.split(".")[1] for name in MODULES if name != ROOF}))
def test_every_module_has_a_layer(module: str) -> None:
    row(f"{ROOF}.{module}")


def test_no_layer_is_listed_in_vain() -> None:
    assert {entry for entries in LAYERS for entry in entries} <= {name.removeprefix(f"{ROOF}.") for name in MODULES}


def test_no_circles() -> None:
    found = circles()
    assert not found, "files that import each other: " + "; ".join(", ".join(map(shown, group)) for group in found)


def test_no_arrow_points_up() -> None:
    wrong = []
    for module, arrows in ARROWS.items():
        for target in sorted(arrows):
            if module == ROOF:
                continue
            if target == ROOF:
                wrong.append(f"{shown(module)} imports the roof, {shown(target)}")
                continue
            (mine, own), (other, its) = row(module), row(target)
            if its != own and other >= mine:
                wrong.append(f"{shown(module)} ({own}) imports {shown(target)} ({its}), which is not below it")
    assert not wrong, "\n".join(wrong)


def test_no_import_takes_the_accelerator() -> None:
    """`jax.distributed.initialize` and a choice of platform have to come before the first array, but not before us."""
    walk = """
import importlib, pkgutil
import aihwjax
from jax._src.xla_bridge import backends_are_initialized
for module in pkgutil.walk_packages(aihwjax.__path__, "aihwjax."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        assert not backends_are_initialized(), module.name
"""
    subprocess.run([sys.executable, "-c", walk], check=True)
