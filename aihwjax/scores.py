"""The metrics of an epoch as text, for tables, logs and bars; known without JAX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

STANDARD = ("epoch", "accuracy", "train_loss", "valid_loss", "time_epoch")
"""Entries of an epoch; any other one is a metric of the user's own. Only those of the validation set may be
missing: ``accuracy`` and ``valid_loss``."""

OVER_TIME = "over_time"
"""Entry of a chip of an inference experiment: a row of its scores for each time."""

NETWORK = "network"
"""Entry of a network of a sweep: its configuration, and a row of its metrics for each epoch."""


def own_names(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the user's own metrics in epochs, in the order of their first occurrence.

    Args:
        entries: Metrics of each epoch.
    """
    return [*dict.fromkeys(name for entry in entries for name in entry if name not in (*STANDARD, OVER_TIME, NETWORK))]


def accuracy_text(entry: Mapping[str, Any], digits: int = 2) -> str:
    """Return the accuracy of an epoch in percent; empty if it has none.

    Args:
        entry: Metrics of the epoch.
        digits: After the point.
    """
    value = entry.get("accuracy")
    return f"{100 * value:.{digits}f} %" if isinstance(value, int | float) else ""


def scores(entry: Mapping[str, Any]) -> list[str]:
    """Return what an epoch says besides its losses: accuracy, if there is one, and the user's own metrics.

    Args:
        entry: Metrics of the epoch.
    """
    accuracy = accuracy_text(entry)
    own = [f"{name} {entry[name]:.4g}" for name in own_names([entry]) if isinstance(entry[name], int | float)]
    return [*([f"accuracy {accuracy}"] if accuracy else []), *own]
