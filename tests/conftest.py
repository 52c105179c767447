"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from tests import programs

_MOST_MAPPINGS = 20_000


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled programs between runs, and count them."""
    if not hasattr(config, "workerinput"):
        programs.keep_small()
    if any(word in config.option.markexpr for word in ("not slow", "not runs_long")):
        programs.compile_quickly(at_all_costs="not slow" in config.option.markexpr)
    programs.keep()
    config.pluginmanager.register(programs.Counts())


@pytest.fixture
def key() -> jax.Array:
    """Return one fixed key; a test that needs several folds or splits it."""
    return jax.random.key(20250131)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs() -> Iterator[None]:
    """Drop compiled programs after each module: a worker that keeps them all grows to gigabytes."""
    yield
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
