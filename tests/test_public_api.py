"""The public names: sorted, importable, documented."""

from __future__ import annotations

import importlib.metadata
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import aihwjax

NAMES = list(aihwjax.__all__)


def test_there_is_a_public_api() -> None:
    assert len(NAMES) > 20


def test_names_are_sorted_and_unique() -> None:
    assert sorted(set(NAMES)) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_name_is_importable_and_documented(name: str) -> None:
    thing = getattr(aihwjax, name)
    if inspect.isclass(thing) or inspect.isroutine(thing) or isinstance(thing, ModuleType):
        text = inspect.getdoc(thing) or ""
        assert len(text.split()) >= 3, f"{name} has no docstring"
        assert not text.startswith(f"{name}("), f"{name} has only the docstring that a dataclass makes"


def test_version_is_that_of_the_distribution() -> None:
    assert aihwjax.__version__ == importlib.metadata.version("aihwjax")


def test_no_module_needs_an_extra_to_be_imported() -> None:
    found = [m.name for m in pkgutil.walk_packages(aihwjax.__path__, "aihwjax.") if not m.name.endswith("__main__")]
    modules = [name for name in found if not name.startswith("aihwjax.server.")]  # the extra composer
    extras = ("fastapi", "flatbuffers", "jinja2", "lineax", "matplotlib", "ray", "safetensors", "sqlalchemy")
    extras += ("tensorflow_datasets", "torch", "uvicorn")
    program = (
        "import sys, importlib\n"
        f"for name in {extras!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_import_starts_no_backend() -> None:
    program = (
        "import aihwjax, jax\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized(), 'importing aihwjax started a backend'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
