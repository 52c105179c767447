"""Learning curves: metrics of each epoch, of one run or of several."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from aihwjax.errors import DataError
from aihwjax.experiments.metrics import EpochMetrics
from aihwjax.plot.style import GREY, axes, drawn, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Run: TypeAlias = Sequence[EpochMetrics] | str | Path
"""Metrics of a run: the list that ``run_local`` and ``fit`` return, or a ``metrics.jsonl`` or its folder."""

_METRICS = ("accuracy", "train_loss", "valid_loss")


@dataclass(frozen=True)
class LearningCurve:
    """Metrics of one run over its epochs, each array ``(epochs,)``."""

    name: str
    """What the run is called."""
    epochs: Int64[np.ndarray, " epochs"]
    """Number of each epoch, from 1: how many passes lie behind its metrics."""
    accuracy: Float64[np.ndarray, " epochs"]
    """Correct fraction of the validation set, 0 to 1."""
    train_loss: Float64[np.ndarray, " epochs"]
    """Mean loss over the training set, while the weights change."""
    valid_loss: Float64[np.ndarray, " epochs"]
    """Mean loss over the validation set after the epoch."""


def read_learning_curve(run: Run, name: str | None = None) -> LearningCurve:
    """Return the metrics of a run as arrays.

    Args:
        run: List of metrics, a ``metrics.jsonl`` file, or the folder that holds it.
        name: What to call it; by default the folder's name.

    Raises:
        DataError: If the file is not there or damaged, or there is no epoch.
    """
    if isinstance(run, str | Path):
        path = Path(run)
        path = path / "metrics.jsonl" if path.is_dir() else path
        entries, source = _lines(path), f"{str(path)!r}"
        name = name or (path.resolve().parent.name if path.name == "metrics.jsonl" else path.stem)
    else:
        entries, source = list(run), "the run"
    if not entries:
        raise DataError(f"{source} holds no epoch: give the metrics of at least one")
    try:
        epochs = np.asarray([int(entry["epoch"]) + 1 for entry in entries])
        columns = [np.asarray([float(entry[metric]) for entry in entries]) for metric in _METRICS]  # type: ignore[literal-required]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{source} holds no metrics: each epoch needs epoch, {', '.join(_METRICS)}"
            f" ({type(error).__name__}: {error})"
        ) from None
    return LearningCurve(name or "run", epochs, *columns)


def _lines(path: Path) -> list[EpochMetrics]:
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read the metrics {str(path)!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"the metrics {str(path)!r} are damaged: {error}") from None


@drawn
def plot_learning_curves(
    runs: Mapping[str, Run] | Sequence[Run | LearningCurve] | Run | LearningCurve, ax: Axes | None = None
) -> Figure:
    """Draw the losses and the validation error of one or several runs over the epochs.

    Args:
        runs: One run or several; with their names if a dictionary.
        ax: Where to draw the validation error alone; by default a new figure has both.

    Raises:
        DataError: If a file is not there or damaged, or there is no epoch.
        MissingExtraError: If matplotlib is not installed.
    """
    curves = _curves(runs)
    if ax is not None:
        figure, ax = axes(ax)
        _draw_error(curves, ax)
        return figure
    figure, (left, right) = panels(2)
    for curve in curves:
        (line,) = left.plot(curve.epochs, curve.train_loss, "o-", ms=2.5, label=curve.name)
        left.plot(curve.epochs, curve.valid_loss, "--", color=line.get_color())
    left.plot([], [], "-", color=GREY, label="training")
    left.plot([], [], "--", color=GREY, label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    left.locator_params(axis="x", integer=True)
    left.legend(handles=left.get_lines()[-2:])
    _draw_error(curves, right)
    return figure


def _draw_error(curves: Sequence[LearningCurve], ax: Axes) -> None:
    for curve in curves:
        ax.plot(curve.epochs, 100 * (1 - curve.accuracy), "o-", ms=2.5, label=curve.name)
    ax.set(xlabel="epoch", ylabel="validation error (%)")
    ax.locator_params(axis="x", integer=True)
    ax.legend()


def _curves(
    runs: Mapping[str, Run] | Sequence[Run | LearningCurve] | Run | LearningCurve,
) -> list[LearningCurve]:
    if isinstance(runs, LearningCurve):
        return [runs]
    if isinstance(runs, str | Path):
        return [read_learning_curve(runs)]
    if isinstance(runs, Mapping):
        return [read_learning_curve(run, name) for name, run in runs.items()]
    entries = list(runs)
    if entries and all(isinstance(entry, Mapping) for entry in entries):
        return [read_learning_curve(entries)]  # type: ignore[arg-type]
    if not entries:
        raise DataError("there is no run: give the metrics of at least one")
    curves = [entry if isinstance(entry, LearningCurve) else read_learning_curve(entry) for entry in entries]  # type: ignore[arg-type]
    if len({curve.name for curve in curves}) == len(curves):
        return curves
    return [dataclasses.replace(curve, name=f"{curve.name} {number}") for number, curve in enumerate(curves, 1)]
