"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

_ROOT = Path(__file__).resolve().parents[1]
_MOST_MAPPINGS = 20_000


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled programs between runs, in a folder of its own for each worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    jax.config.update("jax_compilation_cache_dir", str(_ROOT / ".cache" / "jax" / worker))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


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
