"""What a sweep reports while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias


class SweepNews(NamedTuple):
    """How far a call of a sweep is."""

    call: int
    """Its number, from 0."""
    calls: int
    """How many there are."""
    done: int
    """Epochs that are done."""
    epochs: int
    """Epochs of the longest of its networks."""
    rows: list[dict[str, Any]]
    """Rows of its networks so far, network by network."""
    ended: bool
    """Whether it is done: these are all of its rows, and kept if the sweep has a folder."""


SweepReport: TypeAlias = Callable[[SweepNews], object]
"""Called after each epoch of a call and when it is done; of a call that was done before, once."""
