"""The pinned releases of `constraints.txt` install on every Python that the project names."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PINS = [line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line]


def _pythons() -> list[str]:
    """The first patch of the lowest Python and of each later one that the classifiers name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    lowest = project["requires-python"].removeprefix(">=")
    assert lowest in named
    return [f"{version}.0" for version in named]


@pytest.mark.parametrize("python", _pythons())
def test_every_pin_installs(python: str) -> None:
    seen = 0
    refused = []
    for name, pinned in PINS:
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
