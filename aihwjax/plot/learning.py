"""Learning curves: metrics of each epoch, of one run or of several."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from aihwjax import arguments
from aihwjax.errors import DataError
from aihwjax.experiments.metrics import EpochMetrics
from aihwjax.plot.style import GREY, axes, drawn, legend_above, number_ticks, panels
from aihwjax.scores import own_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Run: TypeAlias = Sequence[EpochMetrics] | str | Path
"""Metrics of a run: the list that ``run_local`` and ``fit`` return, or a ``metrics.jsonl`` or its folder."""


@arguments.answering
@dataclass(frozen=True)
class LearningCurve:
    """Metrics of one run over its epochs, each array ``(epochs,)``."""

    name: str
    """What the run is called."""
    epochs: Int64[np.ndarray, " epochs"]
    """Number of each epoch, from 0 as in the metrics."""
    accuracy: Float64[np.ndarray, " epochs"] | None
    """Correct fraction of the validation set, 0 to 1; ``None`` where there are no classes."""
    train_loss: Float64[np.ndarray, " epochs"]
    """Mean loss over the training set, while the weights change."""
    valid_loss: Float64[np.ndarray, " epochs"]
    """Mean loss over the validation set after the epoch; NaN where it was not validated."""
    metrics: Mapping[str, Float64[np.ndarray, " epochs"]] = dataclasses.field(default_factory=dict)
    """The user's own metrics by name; an epoch that lacks one has NaN."""


@arguments.answered
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
        entries: list[Mapping[str, Any]] = _lines(path)
        source = f"{str(path)!r}"
        name = name or (path.resolve().parent.name if path.name == "metrics.jsonl" else path.stem)
    else:
        entries, source = list(run), "the run"
    if not entries:
        raise DataError(f"{source} holds no epoch: give the metrics of at least one")
    try:
        epochs = np.asarray([int(entry["epoch"]) for entry in entries])
        train = np.asarray([float(entry["train_loss"]) for entry in entries])
        valid, accuracy, *own = [
            np.asarray([float(entry.get(metric, np.nan)) for entry in entries])
            for metric in ("valid_loss", "accuracy", *own_names(entries))
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{source} holds no metrics: each epoch needs epoch, train_loss ({type(error).__name__}: {error})"
        ) from None
    classes = any("accuracy" in entry for entry in entries)
    metrics = dict(zip(own_names(entries), own, strict=True))
    return LearningCurve(name or "run", epochs, accuracy if classes else None, train, valid, metrics)


def _lines(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read the metrics {str(path)!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"the metrics {str(path)!r} are damaged: {error}") from None


@arguments.answered
@drawn
def plot_learning_curves(
    runs: Mapping[str, Run] | Sequence[Run | LearningCurve] | Run | LearningCurve, ax: Axes | None = None
) -> Figure:
    """Draw the losses, the validation error and own metrics of one or several runs over the epochs.

    The validation error is left out where there are no classes; each metric of your own has axes of its own.

    Args:
        runs: One run or several; with their names if a dictionary.
        ax: Where to draw the validation error alone; by default a new figure has everything.

    Raises:
        DataError: If a file is not there or damaged, there is no epoch, or ``ax`` is given and no run has classes.
        MissingExtraError: If matplotlib is not installed.
    """
    curves = _curves(runs)
    classified = [curve for curve in curves if curve.accuracy is not None]
    if ax is not None:
        if not classified:
            raise DataError("no run has an accuracy, so there is no validation error for ax: leave ax out")
        figure, ax = axes(ax)
        _draw_error(curves, ax)
        return figure
    own = [*dict.fromkeys(name for curve in curves for name in curve.metrics)]
    count = 1 + bool(classified) + len(own)
    figure, places = panels(min(count, 2), -(-count // 2))
    for spare in places[count:]:
        spare.remove()
    left = places[0]
    for curve in curves:
        (line,) = left.plot(curve.epochs, curve.train_loss, "o-", ms=2.5, label=curve.name)
        left.plot(curve.epochs, curve.valid_loss, "--", color=line.get_color())
    left.plot([], [], "-", color=GREY, label="training")
    left.plot([], [], "--", color=GREY, label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    number_ticks(left, integer=True)
    legend_above(left, left.get_lines()[-2:])
    colours = {curve.name: line.get_color() for curve, line in zip(curves, left.get_lines()[::2], strict=False)}
    if classified:
        _draw_error(classified, places[1], colours)
    for name, place in zip(own, places[1 + bool(classified) :], strict=False):
        having = [curve for curve in curves if name in curve.metrics]
        _draw([(curve, curve.metrics[name]) for curve in having], name, place, colours)
    return figure


def _draw_error(curves: Sequence[LearningCurve], ax: Axes, colours: Mapping[str, Any] = MappingProxyType({})) -> None:
    errors = [(curve, 100 * (1 - curve.accuracy)) for curve in curves if curve.accuracy is not None]
    _draw(errors, "validation error (%)", ax, colours)


def _draw(values: Sequence[tuple[LearningCurve, np.ndarray]], label: str, ax: Axes, colours: Mapping[str, Any]) -> None:
    lines = [
        line
        for curve, value in values
        for line in ax.plot(curve.epochs, value, "o-", ms=2.5, label=curve.name, color=colours.get(curve.name))
    ]
    ax.set(xlabel="epoch", ylabel=label.replace("$", r"\$"))  # a name is no formula
    number_ticks(ax, integer=True)
    legend_above(ax, lines)


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
