"""Checkpoints of a training run: continue bit for bit after a kill at any moment."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from aihwjax.errors import CheckpointError
from aihwjax.experiments.arrays import from_arrays, to_arrays
from aihwjax.experiments.fingerprint import Fingerprint, difference
from aihwjax.experiments.metrics import EpochMetrics
from aihwjax.experiments.storage import Storage

_KEPT = 2
_SHOWN = 4
_log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """How far a run has come."""

    epochs: int
    """Finished epochs."""
    state: Any
    """State of model (tiles, parameters, configuration numbers) and optimizer."""
    metrics: list[EpochMetrics]
    """Metrics of the finished epochs."""


class Checkpoints:
    """The checkpoints of one run; the last two epochs are kept."""

    def __init__(self, folder: str | Path, fingerprint: Fingerprint) -> None:
        """Open the folder of a run.

        Args:
            folder: Where the checkpoints are; made if it does not exist.
            fingerprint: What the run is, from :func:`~aihwjax.experiments.fingerprint.describe`.

        Raises:
            CheckpointError: If the folder cannot be written.
        """
        self._storage = Storage(folder, _KEPT)
        self._fingerprint = fingerprint

    def latest(self, start: Progress) -> Progress:
        """Return the latest progress that is whole, or ``start`` if there is no checkpoint.

        A damaged checkpoint is removed and the one before it is used: the epochs in between are
        trained again, with the same result.

        Args:
            start: Progress of a new run; its state is the template.

        Raises:
            CheckpointError: If the checkpoints belong to another experiment (names the
                differences), or all of them are damaged.
        """
        numbers = self._storage.numbers()
        damage = None
        for number in numbers:
            try:
                progress = self._read(number, start)
            except _DamagedError as error:
                damage = damage or error
                _log.warning("%s; going back to the one before", error)
                continue
            for later in numbers[: numbers.index(number)]:
                self._storage.remove(later)
            return progress
        if damage is not None:
            raise CheckpointError(f"{damage}; no complete one is left, so give an empty folder to start anew")
        return start

    def save(self, progress: Progress) -> None:
        """Save a run's progress; whoever is killed meanwhile finds the one before.

        Raises:
            CheckpointError: If it cannot be written.
        """
        document = {"fingerprint": self._fingerprint, "epochs": progress.epochs, "metrics": progress.metrics}
        self._storage.write(progress.epochs, document, to_arrays(progress.state))

    def close(self) -> None:
        """Release the folder."""
        self._storage.close()

    def _read(self, number: int, start: Progress) -> Progress:
        try:
            document = self._storage.document(number)
            found, epochs, metrics = document["fingerprint"], document["epochs"], document["metrics"]
        except (CheckpointError, KeyError) as error:
            raise _DamagedError(str(error)) from error
        where = repr(str(self._storage.folder / str(number)))
        refuse_other(self._storage.folder / str(number), found, self._fingerprint)
        try:
            arrays = self._storage.arrays(number)
        except CheckpointError as error:
            raise _DamagedError(str(error)) from error
        return Progress(epochs, from_arrays(start.state, arrays, f"checkpoint {where}"), metrics)


def refuse_other(path: Path, found: Fingerprint, wanted: Fingerprint) -> None:
    """Refuse a record of another experiment.

    Args:
        path: Where it is.
        found: What it says that it is of.
        wanted: What the run is.

    Raises:
        CheckpointError: If they differ; names the differences.
    """
    lines = difference(found, wanted)
    if lines:
        more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise CheckpointError(
            f"checkpoint {str(path)!r} belongs to another experiment: {'; '.join(lines[:_SHOWN])}{more}"
        )


class _DamagedError(CheckpointError):
    """A checkpoint that cannot be read."""
