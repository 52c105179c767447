"""Running a sweep: networks in groups and calls, epoch by epoch, to a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from aihwjax.devices import counts
from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments.batches import on_device
from aihwjax.experiments.data import Dataset, Splits, fingerprint
from aihwjax.experiments.data.dataset import StreamedSplits
from aihwjax.experiments.fingerprint import describe
from aihwjax.experiments.fitting import dataset_of, entry_of, run_key_of, splits_of
from aihwjax.experiments.meshes import checked_mesh
from aihwjax.experiments.shapes import check_fit
from aihwjax.experiments.sweeping.folder import Folder
from aihwjax.experiments.sweeping.networks import Found, Networks, network
from aihwjax.experiments.sweeping.plan import Chunk, Group, Plan, Run, grouped, networks_at_once
from aihwjax.experiments.sweeping.points import Space, configured, points_of
from aihwjax.experiments.sweeping.table import SweepTable, joined, simple
from aihwjax.experiments.tasks import task_of
from aihwjax.experiments.training import BasicTraining
from aihwjax.layer_rates import schedule_check
from aihwjax.nn.peak_memory import default_memory
from aihwjax.progress import Bar
from aihwjax.typing import Key

_WAYS = ("map", "vmap")


def sweep(
    experiment: BasicTraining,
    space: Space,
    seeds: int = 1,
    key: Key | int = 0,
    *,
    data: Splits | Dataset | tuple[np.ndarray, ...] | None = None,
    memory: int | None = None,
    way: str | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    mesh: Mesh | None = None,
) -> SweepTable:
    """Train many configurations of an experiment, as many as the memory allows in one compiled call.

    Paths are those of a tile's configuration, for all analog layers (``"device.dw_min"``) or those below a path in the
    model (``"layers/1:device.dw_min"``), and fields of the experiment (``"learning_rate"``, ``"batch_size"``). Numbers
    are arguments of the compiled program: all configurations that differ in numbers alone share one. Others, such as
    another device or noise management, are grouped by what they have in common.

    Each network is the single run of its configuration: ``fit(configured(experiment, point, key=k0), data, key=k)``
    with the key ``k = jax.random.fold_in(key, seed)`` and ``k0 = aj.random.fold(k, "devices")``, see
    :func:`aihwjax.experiments.configured`. All configurations of a seed have the same key, so that they differ by what
    is varied and not by their noise. A network that diverges ends with a row that says so; others do not notice.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> rng = np.random.default_rng(0)
        >>> data = rng.normal(size=(32, 4)).astype("float32"), rng.integers(0, 3, 32)
        >>> model = aj.nn.AnalogSequential(aj.nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0)), aj.nn.LogSoftmax())
        >>> experiment = aj.BasicTraining(data, model, batch_size=8, epochs=1)
        >>> table = aj.sweep(experiment, {"device.dw_min": [0.001, 0.002]}, seeds=2, progress=False)
        >>> [(row["index"], row["seed"], row["device.dw_min"]) for row in table.rows]
        [(0, 0, 0.001), (0, 1, 0.001), (1, 0, 0.002), (1, 1, 0.002)]

    Args:
        experiment: What is varied; it stays as it is.
        space: A list of values for each path, of which all combinations are trained, or a list of configurations.
        seeds: Networks of each configuration.
        key: Source of all devices, order and noise.
        data: As for :func:`aihwjax.fit`.
        memory: Bytes that the networks of a call may take on a device, by an estimate; ``None``: a quarter of what the
            device has, on a CPU 256 MiB.
        way: ``"map"``: the networks of a call one after the other; ``"vmap"``: side by side; ``None``: the first on a
            CPU, the second on an accelerator.
        folder: Where the rows of each call are written when it is done, and from which a sweep that was stopped goes
            on.
        progress: Print the plan first, and show a bar of calls.
        mesh: Devices among which the networks of a call are divided, along all axes of the mesh; ``None``: one device
            has all. Rows do not depend on it.

    Raises:
        ConfigError: If a path does not exist (with the nearest name), a value or an argument is not allowed, the
            memory is less than one network takes, or the mesh is none of this process.
        DataError: If the data do not fit the model, or come as a stream.
        CheckpointError: If the folder cannot be used, or belongs to another sweep.
    """
    if not isinstance(experiment, BasicTraining):
        raise ConfigError(f"experiment={type(experiment).__name__} is not allowed: give a BasicTraining")
    points = points_of(experiment, space)
    if isinstance(seeds, bool) or not isinstance(seeds, int | np.integer) or seeds < 1:
        raise ConfigError(f"seeds={seeds!r} is not allowed: give a whole number of at least 1")
    if way is not None and way not in _WAYS:
        raise ConfigError(f"way={way!r} is not allowed: give 'map', 'vmap' or None")
    chosen = way or ("map" if jax.default_backend() == "cpu" else "vmap")
    run_key = run_key_of(key)
    if mesh is not None:
        mesh = checked_mesh(mesh)
        if mesh.is_multi_process:
            raise ConfigError("mesh with devices of other processes is not allowed: give one of jax.local_devices()")
    splits = splits_of(experiment if data is None else data)
    if isinstance(splits, StreamedSplits):
        raise DataError("data that come as a stream are not allowed in a sweep: give arrays")
    parts = [_Part(experiment, group, splits, chosen, mesh) for group in grouped(experiment, points, int(seeds))]
    plan = planned(parts, memory, chosen)
    kept = None
    if folder is not None:
        kept = Folder(folder, _identity(experiment, splits, run_key, points, int(seeds), plan))
    if progress:
        print(plan, flush=True)
    rows: dict[tuple[int, int], list[dict[str, Any]]] = {}
    owner = {id(part.group): part for part in parts}
    with Bar(progress, len(plan.chunks), "compiling") as bar:
        for number, chunk in enumerate(plan.chunks):
            found = None if kept is None else kept.rows(number)
            if found is None:
                found = _trained(owner[id(chunk.group)], chunk, plan.at_once[number], run_key)
                if kept is not None:
                    kept.write(number, found)
            for row in found:
                rows.setdefault((row["index"], row["seed"]), []).append(row)
            bar.show(number + 1, f"{len(rows)} networks")
    return SweepTable(joined(rows), tuple(dict.fromkeys(path for point in points for path in point)), plan)


class _Part:
    """A group with its experiment, checked against the data."""

    def __init__(
        self, experiment: BasicTraining, group: Group, splits: Splits, way: str, mesh: Mesh | None = None
    ) -> None:
        self.group, self.splits = group, splits
        # the first network stands for all when shapes and the loss are checked
        self.experiment = configured(experiment, group.runs[0].point, jax.random.key(0))
        output = check_fit(self.experiment, splits)
        own = "accuracy" in self.experiment.metrics
        task = None if own else task_of(self.experiment.loss_function, output, splits)
        self.data = on_device(self.experiment, splits)
        count = len(splits.train_y)
        steps = -(-count // (self.experiment.batch_size * self.experiment.accumulate)) * self.experiment.epochs
        schedule_check(self.experiment.learning_rate, 0, steps, steps)(steps)
        base = dataclasses.replace(self.experiment, model=experiment.model)
        self.networks = Networks(base, group, task, *self.data, way, mesh)
        self.devices = [None] if mesh is None else list(mesh.devices.flat)


def planned(parts: list[_Part], memory: int | None, way: str) -> Plan:
    """Return the calls of a sweep.

    Args:
        parts: The groups.
        memory: Bytes that a call may take.
        way: How networks of a call are run.

    Raises:
        ConfigError: If that is less than one network takes.
    """
    chunks: list[Chunk] = []
    at_once: list[int] = []
    epochs: list[int] = []
    largest = 0
    for part in parts:
        each, once = part.networks.needed()
        devices = len(part.devices)
        most = devices * networks_at_once(each, once, memory, default_memory(part.devices[0]))
        runs = part.group.runs
        turns = -(-len(runs) // most)
        size = -(-len(runs) // (turns * devices)) * devices
        largest = max(largest, size // devices * each + once)
        for start in range(0, len(runs), size):
            chunks.append(Chunk(part.group, runs[start : start + size]))
            at_once.append(size)
            epochs.append(int(part.experiment.epochs))
    return Plan(tuple(chunks), tuple(at_once), largest, way, tuple(epochs))


def _trained(part: _Part, chunk: Chunk, size: int, key: Key) -> list[dict[str, Any]]:
    """Return the rows of the networks of a call, network by network."""
    # the last call of a group repeats a network rather than having a program of its own
    runs = chunk.runs + (chunk.runs[-1],) * (size - len(chunk.runs))
    keys = jax.vmap(lambda seed: jax.random.fold_in(key, seed))(jnp.asarray([run.seed for run in runs], jnp.uint32))
    started = part.networks.start(chunk.group.values(runs), keys)
    rows: list[list[dict[str, Any]]] = [[] for _ in chunk.runs]
    alive = np.ones(len(chunk.runs), bool)
    for number in range(part.experiment.epochs):
        if not alive.any():
            break
        found = started.epoch(number)
        for index, run in enumerate(chunk.runs):
            if alive[index]:
                row = _row(part, run, network(found, index), number)
                rows[index].append(row)
                alive[index] = not row["diverged"]
    return [row for each in rows for row in each]


def _row(part: _Part, run: Run, found: Found, number: int) -> dict[str, Any]:
    own = part.experiment
    every = own.validate_every
    totals = found.totals
    if not (every and (number + 1) % every == 0):
        totals = totals._replace(valid_loss=None, predictions=None)
    pulses = counts.total(found.pulses)
    entry = dict(entry_of(number, totals, part.splits, part.networks.program, own, pulses))
    losses = [np.asarray(totals.train_loss), *([] if totals.valid_loss is None else [np.asarray(totals.valid_loss)])]
    diverged = not bool(found.sound) or not all(np.isfinite(loss).all() for loss in losses)
    metrics = {name: value for name, value in entry.items() if name not in ("epoch", "time_epoch")}
    values = {path: simple(value) for path, value in run.point.items()}
    return {"index": run.index, "seed": run.seed, **values, "epoch": number, **metrics, "diverged": diverged}


def _identity(
    experiment: BasicTraining, splits: Splits, key: Key, points: list[dict[str, Any]], seeds: int, plan: Plan
) -> dict[str, Any]:
    result = describe(experiment, fingerprint(dataset_of(experiment).name, splits), key)
    for number, point in enumerate(points):
        result |= {f"configuration {number}: {path}": simple(value) for path, value in point.items()}
    calls = [len(chunk.runs) for chunk in plan.chunks]
    return {**result, "epochs": int(experiment.epochs), "seeds": seeds, "calls": calls, "way": plan.way}
