"""Tables that several commands print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aihwjax.scores import accuracy_text, own_names

if TYPE_CHECKING:
    from aihwjax.chip_results import InferenceResult
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


def print_inference(found: InferenceResult) -> None:
    """Print the result of an inference experiment, one line a time.

    Args:
        found: The result.
    """
    from rich.console import Console
    from rich.table import Table

    entries = found["inference_runs"]["inference_results"]
    classes = all("avg_accuracy" in entry for entry in entries)
    table = Table("time", *(["accuracy", "spread", "error"] if classes else []), "loss")
    for column in table.columns:
        column.justify = "right"
    for entry in entries:
        scores = [entry["avg_accuracy"], entry["std_accuracy"], entry["avg_error"]] if classes else []
        percents = (f"{score:.2f} %" for score in scores)
        table.add_row(f"{entry['t_inference']:.5g} s", *percents, f"{entry['avg_loss']:.4f}")
    console = Console()
    console.print(table)
    runs = found["inference_runs"]
    chips = f"{runs['inference_repeat']} chip{'s' if runs['inference_repeat'] != 1 else ''}"
    console.print(f"{chips} in {runs['time_elapsed']:.1f} s", highlight=False)
