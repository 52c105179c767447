"""Fixtures that all tests share."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from tests import programs

UNTIL = "AIHWJAX_CHECKS_UNTIL"
"""Environment variable: the second since 1970 after which slow tests are left out; `.ci/run` sets it."""
WEEKLY = Path(__file__).parent / "weekly.txt"
_MOST_MAPPINGS = 20_000
_MOST_GROWTH = 2**30
_GROWTH: list[int] = []


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled programs between runs, and count them."""
    if not hasattr(config, "workerinput"):
        programs.keep_small()
    if any(word in config.option.markexpr for word in ("not slow", "not runs_long")):
        programs.compile_quickly()
    programs.keep()
    config.pluginmanager.register(programs.Counts())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the rows of ``weekly.txt`` as exhaustive; one that is no test any more is an error."""
    weekly = set(WEEKLY.read_text().splitlines())
    found = [item for item in items if item.nodeid in weekly]
    for item in found:
        item.add_marker(pytest.mark.exhaustive)
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        unknown = weekly - {item.nodeid for item in found}
        if unknown:
            raise pytest.UsageError(f"{WEEKLY.name} names what is no test: {sorted(unknown)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out slow tests when the checks have no time left; they are counted, with the reason."""
    if item.get_closest_marker("slow") and time.time() > float(os.environ.get(UNTIL, "inf")):
        pytest.skip("the checks have no time left on this machine")


@pytest.fixture
def key() -> jax.Array:
    """Return one fixed key; a test that needs several folds or splits it."""
    return jax.random.key(20250131)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs() -> Iterator[None]:
    """Drop compiled programs after modules by which a worker has grown: one that keeps them all takes gigabytes.

    Not after each: those of single operations serve the next module, too.
    """
    before = _bytes()
    yield
    _GROWTH.append(_bytes() - before)
    if sum(_GROWTH) > _MOST_GROWTH:
        _GROWTH.clear()
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _forget_many_programs() -> Iterator[None]:
    """Drop compiled programs of long modules: each has a few memory mappings, and Linux ends a process at 65,530."""
    yield
    if _mappings() > _MOST_MAPPINGS:
        jax.clear_caches()


def _mappings() -> int:
    """Return the number of memory mappings of this process, 0 where the system doesn't tell."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


def _bytes() -> int:
    """Return the memory of this process, 0 where the system doesn't tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
