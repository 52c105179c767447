"""Tables that several commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aihwjax.experiments.metrics import EpochMetrics


def print_metrics(metrics: list[EpochMetrics]) -> None:
    """Print the metrics of a run, one line an epoch.

    Args:
        metrics: Of each epoch.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table("epoch", "training loss", "validation loss", "accuracy", "time")
    for column in table.columns:
        column.justify = "right"
    for entry in metrics:
        losses = (f"{entry['train_loss']:.4f}", f"{entry['valid_loss']:.4f}")
        table.add_row(str(entry["epoch"]), *losses, f"{100 * entry['accuracy']:.2f} %", f"{entry['time_epoch']:.2f} s")
    Console().print(table)
