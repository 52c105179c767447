"""A sweep as a job: its table as the result, and an entry for each network that is done.

The order of networks is that of the plan, which is the same on every machine; so entries of another attempt, which a
composer has seen, are those of this one.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aihwjax.cloud.document import Described
from aihwjax.cloud.sweep_section import Swept
from aihwjax.errors import CheckpointError
from aihwjax.experiments import SweepTable, load_data, successive_halving, sweep
from aihwjax.experiments.metrics import write_text
from aihwjax.experiments.sweeping.news import SweepNews
from aihwjax.experiments.sweeping.table import simple
from aihwjax.sweep_results import network_entry

_ROWS = "sweep"
_SAY_SECONDS = 5.0
"""Between two lines of the log that say how far a call is."""


def run(
    folder: Path,
    dataset_root: Path | None,
    described: Described,
    asked: Swept,
    entries: list[dict[str, Any]],
    files: tuple[Path, Path],
) -> None:
    """Train the networks that are not done yet, and write the table.

    Args:
        folder: Folder of the job.
        dataset_root: Folder of data sets.
        described: The experiment.
        asked: How it is varied.
        entries: Of the networks that were done before.
        files: Where entries and table are written.

    Raises:
        AihwjaxError: As :func:`aihwjax.sweep`.
    """
    experiment: Any = described.experiment
    splits = load_data(experiment, dataset_root, described.max_elements_train)
    metrics, output = files
    told = _Told(metrics, entries, asked.points)
    rows = folder / _ROWS

    def train() -> SweepTable:
        if asked.halving is not None:
            return _halved(experiment, described, asked, splits, rows, told)
        return sweep(
            experiment,
            asked.points,
            asked.seeds,
            described.key,
            data=splits,
            memory=asked.memory,
            folder=rows,
            reports=[told],
        )

    try:
        table = train()
    except CheckpointError as error:
        if told.trained:  # they could be read, so the disk is full or gone
            raise
        print(f"starting anew: {error}", flush=True)
        shutil.rmtree(rows)
        told = _Told(metrics, entries, asked.points)
        table = train()
    table.to_csv(output)


def _halved(experiment: Any, described: Described, asked: Swept, splits: Any, folder: Path, told: _Told) -> SweepTable:
    """Return the table of a successive halving, all of whose networks are told of at its end."""
    assert asked.halving is not None
    table = successive_halving(
        experiment,
        asked.points,
        asked.seeds,
        described.key,
        **asked.halving._asdict(),
        data=splits,
        memory=asked.memory,
        folder=folder,
    )
    # until the end it is open how far a network gets
    told(SweepNews(0, 1, experiment.epochs, experiment.epochs, table.rows, True))
    return table


class _Told:
    """A report of a sweep: entries of networks, and lines in the log."""

    def __init__(self, metrics: Path, entries: list[dict[str, Any]], points: Sequence[Mapping[str, Any]]) -> None:
        self._metrics, self._entries, self._points = metrics, entries, points
        self._networks = 0
        self._started = self._said = time.monotonic()
        self.trained = False
        """Whether an epoch was trained by this process."""
        if entries:
            print(f"going on after {len(entries)} networks", flush=True)

    def __call__(self, news: SweepNews) -> None:
        if news.ended:
            self._end(news)
            return
        self.trained = True
        if time.monotonic() - self._said >= _SAY_SECONDS:
            self._said = time.monotonic()
            print(f"call {news.call + 1} of {news.calls}: {news.done} of {news.epochs} epochs", flush=True)

    def _end(self, news: SweepNews) -> None:
        """Write the entries of the networks of a call, those that are not there."""
        networks: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for row in news.rows:
            plain = {name: simple(value) for name, value in row.items()}
            networks.setdefault((row["index"], row["seed"]), []).append(plain)
        seconds = (time.monotonic() - self._started) / len(networks)
        before = len(self._entries)
        for (index, _), rows in networks.items():
            if self._networks == len(self._entries):
                self._entries.append(network_entry(self._networks, rows, self._points[index], seconds))
            self._networks += 1
        if len(self._entries) > before:
            write_text(self._metrics, "".join(json.dumps(entry) + "\n" for entry in self._entries))
            diverged = sum(rows[-1]["diverged"] for rows in networks.values())
            count = f"{len(networks)} networks" if len(networks) > 1 else "1 network"
            told = f"{count} in {seconds * len(networks):.2f} s" + (f", {diverged} diverged" if diverged else "")
            print(f"call {news.call + 1} of {news.calls}: {told}", flush=True)
        self._started = self._said = time.monotonic()
