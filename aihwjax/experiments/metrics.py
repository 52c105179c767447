"""What a run reports: metrics of each epoch, on the terminal and in a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TextIO, TypeAlias, TypedDict

from aihwjax import arguments
from aihwjax.replacing import unwritten, write_bytes
from aihwjax.scores import accuracy_text, own_names


@arguments.answering
class EpochMetrics(TypedDict):
    """Metrics of one epoch (spec: experiments, section 5.1); your own are further entries, by name."""

    epoch: int
    """Number of the epoch, from 0."""
    accuracy: NotRequired[float]
    """Correct fraction of the validation set, 0 to 1; missing where there are no classes."""
    train_loss: float
    """Mean over the training examples of the loss of their batch, while the weights change."""
    valid_loss: NotRequired[float]
    """Mean over the validation examples of the loss of their batch, after the epoch; missing without validation."""
    pulses: NotRequired[int]
    """Up and down pulses of all tiles since they were drawn; only where devices have ``count_pulses``."""
    time_epoch: float
    """Seconds for training and validation."""


Report: TypeAlias = Callable[[list[EpochMetrics]], bool | None]
"""Called with the metrics so far: after each epoch, and once when a run is resumed; ``False`` ends the run."""


@arguments.answering
class Printer:
    """A report of three lines an epoch, two without validation (spec: experiments, section 5.3)."""

    def __init__(self, validation_count: int, out: TextIO | None = None) -> None:
        """Print to ``out``, by default the standard output.

        Args:
            validation_count: Examples in the validation set.
            out: Where to print.
        """
        self._count = validation_count
        self._out = out

    def __call__(self, metrics: list[EpochMetrics]) -> None:
        """Print the last epoch."""
        last = metrics[-1]
        values: Mapping[str, Any] = last
        accuracy = f"accuracy {accuracy_text(last, 6)}, " if "accuracy" in last else ""
        own = "".join(f", {name} {values[name]:.8g}" for name in own_names([last]))
        validation = ""
        if "valid_loss" in last:
            what = "images" if accuracy else "examples"
            validation = f"Validation of {self._count} {what}: {accuracy}loss {last['valid_loss']:.8f}{own}\n"
        print(
            f"Epoch {last['epoch']}: training loss {last['train_loss']:.8f}\n"
            f"{validation}"
            f"Time of the epoch: {last['time_epoch']:.4g}s",
            file=self._out or sys.stdout,
            flush=True,
        )


@arguments.answering
class MetricsFile:
    """A report that keeps a JSON-lines file: one line an epoch, never torn or doubled.

    An epoch that follows the file's last line is appended; anything else (a new run, a resumed
    one, a line torn by a kill) rewrites the file in one atomic step.
    """

    def __init__(self, path: str | Path) -> None:
        """Report into the file ``path``; its folder must exist."""
        self._path = Path(path)
        self._written = 0

    def __call__(self, metrics: list[EpochMetrics]) -> None:
        """Write what the file lacks."""
        if self._written and self._written == len(metrics) - 1:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(_line(metrics[-1]))
            except OSError as error:
                raise unwritten(self._path, error) from None
        else:
            write_text(self._path, "".join(_line(entry) for entry in metrics))
        self._written = len(metrics)


def write_text(path: Path, text: str) -> None:
    """Replace the file ``path`` by ``text``; a reader sees the old or the new one, never a part.

    Args:
        path: The file.
        text: Its new content.

    Raises:
        CheckpointError: If it cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def _line(entry: EpochMetrics) -> str:
    return json.dumps(entry) + "\n"
