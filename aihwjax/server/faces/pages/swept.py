"""The networks of a sweep as rows of configurations, the best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from aihwjax.server.faces.pages.histories import Epoch

_MOST_LETTERS = 40


class Configuration(NamedTuple):
    """A configuration: means over its networks after their last epochs, ``None`` if one diverged."""

    number: int
    """Which one it is, from 0."""
    values: dict[str, Any]
    """What it says, by path."""
    networks: int
    """Networks that are done."""
    diverged: int
    """Networks that diverged."""
    accuracy: float | None
    """As a fraction."""
    valid_loss: float | None
    train_loss: float | None


def configurations(epochs: Sequence[Epoch]) -> list[Configuration]:
    """Return the configurations of the networks that are done, the best first; those that diverged are the last.

    The best has the largest accuracy, without classes the smallest loss in validation.

    Args:
        epochs: The networks so far; what is none is left out.
    """
    found: dict[int, list[Epoch]] = {}
    for epoch in epochs:
        if epoch.network is not None:
            found.setdefault(epoch.network.number, []).append(epoch)
    rows = [_configuration(number, each) for number, each in found.items()]
    classes = any(epoch.classes for epoch in epochs)
    return sorted(rows, key=lambda row: _place(row, classes))


def paths(found: Sequence[Configuration]) -> list[str]:
    """Return what is varied, in the order of the first configurations.

    Args:
        found: From :func:`configurations`.
    """
    ordered = sorted(found, key=lambda row: row.number)
    return [*dict.fromkeys(path for row in ordered for path in row.values)]


def value_text(value: Any) -> str:
    """Return a value of a configuration, for people; ``None``: it has none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def _configuration(number: int, networks: Sequence[Epoch]) -> Configuration:
    diverged = sum(each.network is not None and each.network.diverged for each in networks)
    first = networks[0].network

    def mean(name: str) -> float | None:
        values = [getattr(each, name) for each in networks]
        known = [value for value in values if value is not None]
        return None if diverged or len(known) < len(values) else math.fsum(known) / len(known)

    return Configuration(
        number,
        {} if first is None else first.values,
        len(networks),
        diverged,
        mean("accuracy"),
        mean("valid_loss"),
        mean("train_loss"),
    )


def _place(row: Configuration, classes: bool) -> tuple[bool, float, int]:
    score = row.accuracy if classes else row.valid_loss
    return score is None, 0.0 if score is None else (-score if classes else score), row.number
