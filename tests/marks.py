"""Which cases of a test are quick: the others are among the slow tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def some(values: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Return parameters of a test; those that are not among the quick ones are marked slow."""
    return [value if value in quick else slow(value) for value in values]


def slow(*values: Any) -> Any:
    """Return one parameter of a test, marked slow."""
    return pytest.param(*values, marks=pytest.mark.slow)
