"""The best epoch of a run by one of its metrics: which one it is, and its model on disk."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from flax import nnx

from aihwjax import arguments
from aihwjax.errors import AihwjaxError, CheckpointError, ConfigError, nearest
from aihwjax.experiments.architecture import Document, to_document
from aihwjax.experiments.arrays import to_arrays
from aihwjax.experiments.checkpoint import refuse_other
from aihwjax.experiments.fingerprint import Fingerprint
from aihwjax.experiments.metrics import EpochMetrics
from aihwjax.experiments.storage import Storage, holds_records
from aihwjax.experiments.storing import built, with_arrays
from aihwjax.nn.variables import ModelState

Extreme: TypeAlias = Literal["smallest", "largest"]
"""Which value of a metric is the best."""

FOLDER = "best"
"""Its folder among the checkpoints of the run."""
_FORMAT = "aihwjax best epoch, version 1"
# one before each of the checkpoints that a run may go on from, and one that is ahead of them
_KEPT = 3
_SMALLEST = frozenset(("loss", "error", "errors", "mse", "rmse", "mae", "nll", "perplexity", "time", "pulses"))
_LARGEST = frozenset(("accuracy", "acc", "f1", "precision", "recall", "auc", "r2", "score", "correlation"))


class Goal(NamedTuple):
    """What makes an epoch the best."""

    metric: str
    """Name of the metric."""
    extreme: Extreme
    """Which of its values is the best."""

    def find(self, metrics: Sequence[EpochMetrics]) -> int | None:
        """Return the number of the best epoch, from 0; the first of equal ones, and none of those that are NaN."""
        best, found = math.inf, None
        for number, entry in enumerate(metrics):
            values: Mapping[str, Any] = entry
            value = values.get(self.metric, math.nan)
            value = -value if self.extreme == "largest" else value
            if value < best or (found is None and value == best):
                best, found = value, number
        return found


def goal(keep_best: str, best: Extreme | None, available: Collection[str]) -> Goal:
    """Return what makes an epoch the best, if it can be told.

    Args:
        keep_best: Name of a metric.
        best: Which value is the best; ``None``: as the name says.
        available: Names of the metrics of the run.

    Raises:
        ConfigError: If the run has no such metric (with the nearest name), or it isn't known what is better.
    """
    if not isinstance(keep_best, str) or keep_best not in available:
        names = ", ".join(sorted(available))
        hint = nearest(str(keep_best), available)
        raise ConfigError(f"keep_best={keep_best!r} is no metric of this run{hint or f': give one of {names}'}")
    if best is None:
        words = set(re.split(r"[^a-z0-9]+", keep_best.lower()))
        falls, grows = bool(words & _SMALLEST), bool(words & _LARGEST)
        if falls == grows:
            raise ConfigError(
                f"keep_best={keep_best!r} does not say which value is the best: give best='smallest' or best='largest'"
            )
        best = "smallest" if falls else "largest"
    if best not in ("smallest", "largest"):
        raise ConfigError(f"best={best!r} is not allowed: give 'smallest' or 'largest'")
    return Goal(keep_best, best)


def wanted_goal(keep_best: str | None, best: Extreme | None, available: Collection[str]) -> Goal | None:
    """Return what makes an epoch the best, ``None`` if none is to be kept.

    Args:
        keep_best: Name of a metric, or ``None``.
        best: As for :func:`goal`.
        available: Names of the metrics of the run.

    Raises:
        ConfigError: As :func:`goal`, or if ``best`` is given alone.
    """
    if keep_best is not None:
        return goal(keep_best, best, available)
    if best is not None:
        raise ConfigError(f"best={best!r} is not allowed alone: give keep_best, the name of a metric")
    return None


class BestEpoch:
    """Keeps the model of the best epoch of a run beside its checkpoints.

    It is written before the checkpoint of its epoch, so that whoever is killed in between has one that is ahead:
    going on removes it, and writes it again when the epoch is trained again.
    """

    def __init__(self, checkpoint_dir: str | Path, wanted: Goal, model: nnx.Module, fingerprint: Fingerprint) -> None:
        """Open the folder.

        Args:
            checkpoint_dir: Folder of the checkpoints.
            wanted: What makes an epoch the best.
            model: The model of the run, for its structure.
            fingerprint: What the run is.

        Raises:
            CheckpointError: If the folder cannot be written or belongs to another experiment.
        """
        self._storage = Storage(Path(checkpoint_dir) / FOLDER, _KEPT)
        self._goal = wanted
        self._fingerprint = fingerprint
        self._model: Document | None = None
        with contextlib.suppress(AihwjaxError):  # other modules are trained too; loading then needs the model
            self._model = to_document(model)
        for number in self._storage.numbers():
            found = self._storage.document(number).get("fingerprint", {})
            refuse_other(self._storage.folder / str(number), found, fingerprint)

    def resume(self, metrics: Sequence[EpochMetrics], state: ModelState) -> None:
        """Go on after some epochs.

        Args:
            metrics: Of these epochs.
            state: The model's state after the last of them.

        Raises:
            CheckpointError: If the best of these epochs was not kept.
        """
        best = self._goal.find(metrics)
        for number in self._storage.numbers():
            if best is None or number > best + 1:
                self._storage.remove(number)
        if best is None or best + 1 in self._storage.numbers():
            return
        if best + 1 < len(metrics):
            raise CheckpointError(
                f"keep_best={self._goal.metric!r} comes too late for {str(self._storage.folder.parent)!r}: "
                f"epoch {best}, its best so far, was not kept; start anew in an empty folder, or leave keep_best out"
            )
        self._write(metrics, state)

    def after(self, metrics: Sequence[EpochMetrics], state: ModelState) -> None:
        """Keep the model if the last epoch is the best so far.

        Args:
            metrics: Of all epochs so far.
            state: The model's state after the last of them.

        Raises:
            CheckpointError: If it cannot be written.
        """
        if self._goal.find(metrics) == len(metrics) - 1:
            self._write(metrics, state)

    def close(self) -> None:
        """Release the folder."""
        self._storage.close()

    def _write(self, metrics: Sequence[EpochMetrics], state: ModelState) -> None:
        document = {
            "format": _FORMAT,
            "fingerprint": self._fingerprint,
            "metrics": metrics[-1],
            "keep_best": self._goal.metric,
            "best": self._goal.extreme,
            "model": self._model,
        }
        self._storage.write(len(metrics), document, to_arrays(state))


def has_best(checkpoint_dir: str | Path) -> bool:
    """Whether a best epoch was kept; of a run whose metric was never a number there is none.

    Args:
        checkpoint_dir: Folder of the run's checkpoints.
    """
    return holds_records(Path(checkpoint_dir) / FOLDER)


@arguments.answered
def load_best(checkpoint_dir: str | Path, model: nnx.Module | None = None) -> tuple[nnx.Module, EpochMetrics]:
    """Load the model of the best epoch of a run that was given ``keep_best``.

    Args:
        checkpoint_dir: Folder of the run's checkpoints.
        model: A model of the same structure, such as the experiment's, which stays as it is; needed only where layers
            are not those of ``aihwjax.nn``.

    Returns:
        The model, and the metrics of its epoch.

    Raises:
        CheckpointError: If there is none, it is damaged, or it does not fit the model.
    """
    folder = Path(checkpoint_dir) / FOLDER
    missing = CheckpointError(
        f"{str(checkpoint_dir)!r} has no best epoch: give the checkpoints of a run with keep_best"
    )
    if not folder.is_dir():
        raise missing
    storage = Storage(folder, _KEPT, read_only=True)
    numbers = storage.numbers()
    if not numbers:
        raise missing
    document, arrays = storage.document(numbers[0]), storage.arrays(numbers[0])
    storage.close()
    source = f"best epoch in {str(folder)!r}"
    if document.get("format") != _FORMAT:
        raise CheckpointError(f"{source} cannot be read: its format is {document.get('format')!r}")
    if model is None:
        if document["model"] is None:
            raise CheckpointError(f"{source} has layers that are not of aihwjax.nn: give model=experiment.model, too")
        model = built(document["model"], source)
    return with_arrays(nnx.clone(model), arrays, source), document["metrics"]
