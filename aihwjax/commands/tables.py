"""Tables that several commands print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aihwjax.scores import accuracy_text, own_names

if TYPE_CHECKING:
    from aihwjax.experiments.metrics import EpochMetrics


def print_metrics(metrics: list[EpochMetrics]) -> None:
    """Print the metrics of a run, one line an epoch.

    Args:
        metrics: Of each epoch.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    entries: list[Mapping[str, Any]] = [*metrics]
    own = own_names(entries)
    classes = any("accuracy" in entry for entry in entries)
    table = Table("epoch", "training loss", "validation loss", *(["accuracy"] if classes else []))
    for name in own:
        table.add_column(escape(name))
    table.add_column("time")
    for column in table.columns:
        column.justify = "right"
    for entry in entries:
        losses = [f"{entry[name]:.4f}" if name in entry else "" for name in ("train_loss", "valid_loss")]
        accuracy = [accuracy_text(entry)] if classes else []
        values = (f"{entry[name]:.4g}" if name in entry else "" for name in own)
        table.add_row(str(entry["epoch"]), *losses, *accuracy, *values, f"{entry['time_epoch']:.2f} s")
    Console().print(table)
