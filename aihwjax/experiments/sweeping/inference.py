"""Sweeps over inference experiments: chips of every configuration at all times, in one program for all numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from aihwjax import random
from aihwjax.errors import AihwjaxError, ConfigError
from aihwjax.experiments.arrays import digest, to_arrays
from aihwjax.experiments.data import Dataset, Splits, fingerprint
from aihwjax.experiments.fitting import run_key_of
from aihwjax.experiments.inferencing import BasicInferencing
from aihwjax.experiments.inferring import infer, load_examples
from aihwjax.experiments.sweeping.fields import changed_fields
from aihwjax.experiments.sweeping.folder import Folder
from aihwjax.experiments.sweeping.networks import DEVICES
from aihwjax.experiments.sweeping.points import Point, Space, configured, points_of
from aihwjax.experiments.sweeping.table import SweepTable, simple
from aihwjax.experiments.sweeping.tables import kind
from aihwjax.progress import Bar
from aihwjax.typing import Key


@dataclass(frozen=True)
class ChipsPlan:
    """What a sweep over an inference experiment does, before it does it."""

    configurations: int
    """How many."""
    seeds: int
    """Of each."""
    chips: int
    """In all."""
    times: int
    """At which they are evaluated, in all."""

    def __str__(self) -> str:
        """Return one line."""
        calls = self.configurations * self.seeds
        return (
            f"{self.configurations} configurations, {self.seeds} seeds, {calls} calls: {self.chips} chips, evaluated "
            f"{self.times} times in all"
        )


def swept_chips(
    experiment: BasicInferencing,
    space: Space,
    seeds: Sequence[int],
    key: Key | int,
    data: Splits | Dataset | tuple[np.ndarray, ...] | None,
    memory: int | None,
    way: str | None,
    folder: str | Path | None,
    parquet: bool,
    progress: bool,
) -> SweepTable:
    """Return a row for each configuration, seed, chip and time; arguments as for :func:`aihwjax.sweep`.

    Raises:
        AihwjaxError: As :func:`aihwjax.sweep`, and as :func:`aihwjax.experiments.infer`.
    """
    if way is not None:
        raise ConfigError(f"way={way!r} is for training: chips go at once as the memory allows")
    points, source = points_of(experiment, space), run_key_of(key)
    if data is not None and not isinstance(data, Splits):
        experiment, data = experiment.replace(dataset=data), None
    examples = load_examples(experiment) if data is None else data
    ones = [experiment.replace(**changed_fields(experiment, point)) for point in points]
    asked = [(int(one.inference_repeats), len(one.time_grid())) for one in ones]
    chips, times = (len(seeds) * sum(each) for each in zip(*((n, n * t) for n, t in asked), strict=True))
    plan = ChipsPlan(len(points), len(seeds), chips, times)
    paths = tuple(dict.fromkeys(path for point in points for path in point))
    kept = None
    if folder is not None:
        values = {path: [simple(point[path]) for point in points if path in point] for path in paths}
        kinds = {path: kind(each) for path, each in values.items()}
        columns = {"index": int, "seed": int, **kinds, "chip": int, "time": float, "accuracy": float, "loss": float}
        identity = _identity(experiment, examples, source, points, seeds)
        kept = Folder(folder, identity, {**columns, "diverged": bool} if parquet else None)
    if progress:
        print(plan, flush=True)
    rows: list[dict[str, Any]] = []
    with Bar(progress, len(points) * len(seeds), "compiling", unit="runs") as bar:
        for index, point in enumerate(points):
            for turn, seed in enumerate(seeds):
                number = index * len(seeds) + turn
                found = None if kept is None else kept.rows(number)
                if found is None:
                    found = _rows(experiment, examples, source, index, point, seed, memory)
                    if kept is not None:
                        kept.write(number, found)
                rows += found
                bar.show(number + 1, f"{len(rows)} rows")
    if kept is not None:
        kept.write_table(rows)
    return SweepTable(rows, paths, plan)


def _rows(
    experiment: BasicInferencing,
    examples: Splits,
    source: Key,
    index: int,
    point: Point,
    seed: int,
    memory: int | None,
) -> list[dict[str, Any]]:
    key = jax.random.fold_in(source, seed)
    one = configured(experiment, point, random.fold(key, DEVICES))
    try:
        found = infer(one, examples, key, progress=False, memory=memory)
    except AihwjaxError as error:
        raise type(error)(f"configuration {index}: {error}") from None
    values = {path: simple(value) for path, value in point.items()}
    return [
        {
            "index": index,
            "seed": seed,
            **values,
            "chip": chip["chip"],
            "time": chip["time"],
            **({"accuracy": chip["accuracy"]} if "accuracy" in chip else {}),
            "loss": chip["loss"],
            "diverged": not bool(np.isfinite(chip["loss"])),
        }
        for chip in found["chips"]
    ]


def _identity(
    experiment: BasicInferencing, data: Splits, key: Key, points: Sequence[Point], seeds: Sequence[int]
) -> dict[str, Any]:
    assert isinstance(experiment.dataset, Dataset)  # the experiment made it one
    result: dict[str, Any] = {
        "experiment": str(experiment),
        "data": fingerprint(experiment.dataset.name, data),
        "key": [str(jax.random.key_impl(key)), *jax.random.key_data(key).tolist()],
        "seeds": list(seeds),
        "initial values": digest(to_arrays(nnx.state(experiment.model))),
    }
    for number, point in enumerate(points):
        result |= {f"configuration {number}: {path}": simple(value) for path, value in point.items()}
    return result
