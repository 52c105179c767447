"""The pinned releases of `constraints/` install on every Python that the project names, and are what it asks for."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _pythons() -> list[str]:
    """The first patch of the lowest Python and of each later one that the classifiers name."""
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert lowest in named
    return [f"{version}.0" for version in named]


def _pins(python: str) -> dict[str, str]:
    """Name to release of what `make setup` takes for a Python."""
    family = "3.12" if Version(python) >= Version("3.12") else "3.11"
    text = (ROOT / "constraints" / f"python{family}.txt").read_text()
    return {canonicalize_name(name): release for name, _, release in (line.partition("==") for line in text.split())}


@pytest.mark.parametrize("python", _pythons())
def test_every_pin_installs(python: str) -> None:
    seen = 0
    refused = []
    for name, pinned in _pins(python).items():
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        if Version(found.version) != Version(pinned):
            continue
        seen += 1
        needs = found.metadata.get("Requires-Python")
        if needs and python not in SpecifierSet(needs):
            refused.append(f"{name}=={pinned} needs Python {needs}")
    if not seen:
        pytest.skip("none of the pinned releases is installed here")
    assert not refused


@pytest.mark.parametrize("python", _pythons())
def test_every_pin_is_a_release_that_the_project_asks_for(python: str) -> None:
    pins = _pins(python)
    here = {"python_version": python.rsplit(".", 1)[0], "python_full_version": python}
    groups = [PROJECT["dependencies"], PROJECT["optional-dependencies"]["dev"]]
    asked = [need for group in groups for need in map(Requirement, group) if need.name != PROJECT["name"]]
    wanted = [need for need in asked if need.marker is None or need.marker.evaluate(here)]
    assert {"jax", "flax"} <= {need.name for need in wanted}
    wrong = [str(need) for need in wanted if pins.get(canonicalize_name(need.name), "0") not in need.specifier]
    assert not wrong
