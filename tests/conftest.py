"""Fixtures that all tests share."""

from __future__ import annotations

import functools
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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files without slow tests alone when only these run: to import them takes longer than some tests."""
    only_slow = config.option.markexpr.startswith("slow and")
    return True if only_slow and collection_path.suffix == ".py" and not _may_be_slow(collection_path) else None


@functools.cache
def _may_be_slow(file: Path) -> bool:
    """Return whether a file names a mark of slow tests, or a helper that sets one."""
    text = file.read_text()
    return any(word in text for word in ("mark.slow", "mark.runs_long", "tests.marks", "tests import marks"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the rows of ``weekly.txt`` as exhaustive, and let the longest tests begin.

    It is an error if a row is no test any more, and if a slow test is in a file that is left alone where only slow
    ones run.
    """
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)
    unseen = {i.path.name for i in items if i.get_closest_marker("slow") and not _may_be_slow(i.path)}
    if unseen:
        raise pytest.UsageError(f"{sorted(unseen)} have slow tests, but no mark in their text: take one of tests.marks")
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
