"""Which cases of a test are quick, which are slow, and which are only for the whole table.

Three suites: quick cases run at each `make test`; slow ones with them at each run of the checks; exhaustive ones,
rows of a table whose kinds the others have, every week and before a release (`make test-exhaustive`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def some(values: Iterable[Any], quick: Collection[Any], then: Collection[Any] | None = None) -> list[Any]:
    """Return parameters of a test; those that are not among the quick ones are marked slow, or exhaustive.

    Args:
        values: All parameters.
        quick: Those that are quick.
        then: Those that are slow; others are exhaustive. ``None``: all others, unless some are quick.
    """
    values = list(values)
    if then is None:
        then = () if quick else values

    def marked(value: Any) -> Any:
        if value in quick:
            return value
        return slow(value) if value in then else exhaustive(value)

    return [marked(value) for value in values]


def slow(*values: Any) -> Any:
    """Return one parameter of a test, marked slow."""
    return pytest.param(*values, marks=pytest.mark.slow)


def exhaustive(*values: Any) -> Any:
    """Return one parameter of a test that runs with the exhaustive ones only."""
    return pytest.param(*values, marks=pytest.mark.exhaustive)
