"""What trains the configurations of a sweep: data and programs, kept from one batch of configurations to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from aihwjax.devices import counts
from aihwjax.errors import ConfigError, DataError
from aihwjax.experiments.batches import Split, on_device
from aihwjax.experiments.data import Dataset, Splits
from aihwjax.experiments.data.dataset import StreamedSplits
from aihwjax.experiments.fitting import entry_of, run_key_of, splits_of
from aihwjax.experiments.meshes import checked_mesh
from aihwjax.experiments.shapes import check_fit
from aihwjax.experiments.sweeping import cost
from aihwjax.experiments.sweeping.fields import EPOCHS, RATE, changed_fields
from aihwjax.experiments.sweeping.networks import Found, Networks
from aihwjax.experiments.sweeping.plan import Chunk, Group, Plan, Run, grouped, networks_at_once
from aihwjax.experiments.sweeping.points import Point, configured
from aihwjax.experiments.sweeping.table import simple
from aihwjax.experiments.tasks import task_of
from aihwjax.experiments.training import BasicTraining
from aihwjax.layer_rates import LayerRates, check_rates, parted, schedule_check
from aihwjax.nn.peak_memory import default_memory
from aihwjax.typing import Key

WAYS = ("map", "vmap")

Row = dict[str, Any]
"""Of a network and an epoch."""


class Engine:
    """Trains configurations of one experiment on one set of data."""

    def __init__(
        self,
        experiment: BasicTraining,
        data: Splits | Dataset | tuple[np.ndarray, ...] | None = None,
        key: Key | int = 0,
        memory: int | None = None,
        way: str | None = None,
        mesh: Mesh | None = None,
    ) -> None:
        """Prepare; arguments as for :func:`aihwjax.sweep`.

        Args:
            experiment: What is varied.
            data: The data.
            key: Source of all randomness.
            memory: Bytes that the networks of a call may take.
            way: How they are run.
            mesh: Devices among which they are divided.

        Raises:
            ConfigError: If an argument is not allowed.
            DataError: If the data come as a stream.
        """
        if not isinstance(experiment, BasicTraining):
            raise ConfigError(f"experiment={type(experiment).__name__} is not allowed: give a BasicTraining")
        if way is not None and way not in WAYS:
            raise ConfigError(f"way={way!r} is not allowed: give 'map', 'vmap' or None")
        self.experiment, self.key, self._memory = experiment, run_key_of(key), memory
        self.way = way or ("map" if jax.default_backend() == "cpu" else "vmap")
        self.mesh = None if mesh is None else checked_mesh(mesh)
        if self.mesh is not None and self.mesh.is_multi_process:
            raise ConfigError("mesh with devices of other processes is not allowed: give one of jax.local_devices()")
        self.splits = splits_of(experiment if data is None else data)
        if isinstance(self.splits, StreamedSplits):
            raise DataError("data that come as a stream are not allowed in a sweep: give arrays")
        self._parts: dict[Any, Part] = {}
        self._data: dict[str, tuple[Split, Split | None]] = {}

    def plan(self, points: Sequence[Point], seeds: Sequence[int], indices: Sequence[int] | None = None) -> Plan:
        """Return how configurations are going to be trained, after a look at all of them.

        Args:
            points: The configurations, checked.
            seeds: Numbers of the networks of each.
            indices: Numbers of the configurations; ``None``: from 0 on.

        Raises:
            ConfigError: If the memory is less than one network takes, or a schedule is not allowed at some step.
            DataError: If the data do not fit the model.
        """
        chunks: list[Chunk] = []
        at_once: list[int] = []
        epochs: list[int] = []
        largest, seconds = 0, 0.0
        for group in grouped(self.experiment, points, seeds, indices):
            part = self.part(group)
            each, once = part.networks.needed()
            devices = [None] if self.mesh is None else list(self.mesh.devices.flat)
            most = len(devices) * networks_at_once(each, once, self._memory, default_memory(devices[0]))
            turns = -(-len(group.runs) // most)
            size = -(-len(group.runs) // (turns * len(devices))) * len(devices)
            if part.width is not None and size <= part.width <= most:
                size = part.width  # its program is there
            part.width = size
            largest = max(largest, size // len(devices) * each + once)
            seconds += part.seconds * sum(self.epochs_of(run) for run in group.runs)
            for start in range(0, len(group.runs), size):
                runs = group.runs[start : start + size]
                chunks.append(Chunk(group, runs))
                at_once.append(size)
                epochs.append(max(self.epochs_of(run) for run in runs))
        return Plan(tuple(chunks), tuple(at_once), largest, self.way, tuple(epochs), seconds)

    def epochs_of(self, run: Run) -> int:
        """Return the epochs of a network."""
        return int(run.point.get(EPOCHS, self.experiment.epochs))

    def start(self, chunk: Chunk, size: int) -> Call:
        """Draw the networks of a call.

        Args:
            chunk: The networks.
            size: How many its program is for.
        """
        return Call(self, self._parts[chunk.group.kind], chunk, size)

    def metrics(self, group: Group) -> tuple[str, ...]:
        """Return the names of what rows say of the networks of a group, beside their configuration."""
        return self._parts[group.kind].metrics()

    def on_device(self, experiment: BasicTraining) -> tuple[Split, Split | None]:
        """Return the data on the device, once for all groups with the same weights of classes."""
        kind = repr(experiment.class_weights)
        if kind not in self._data:
            self._data[kind] = on_device(experiment, self.splits)
        return self._data[kind]

    def part(self, group: Group) -> Part:
        """Return what a group has in common, checked.

        Args:
            group: The group.

        Raises:
            ConfigError: If a schedule is not allowed at some step.
            DataError: If the data do not fit the model.
        """
        if group.kind not in self._parts:
            self._parts[group.kind] = Part(self, group)
        part = self._parts[group.kind]
        part.check_rates(self, group.runs)
        return part


class Part:
    """What a group has in common, checked against the data."""

    def __init__(self, engine: Engine, group: Group) -> None:
        """Prepare.

        Args:
            engine: The rest.
            group: The networks, of which the first stands for all when shapes and the loss are checked.
        """
        self.experiment = configured(engine.experiment, group.runs[0].point, jax.random.key(0))
        self.splits = engine.splits
        self.width: int | None = None
        """Networks that its program is for; ``None``: there is none yet."""
        output = check_fit(self.experiment, self.splits)
        own = "accuracy" in self.experiment.metrics
        task = None if own else task_of(self.experiment.loss_function, output, self.splits)
        base = dataclasses.replace(self.experiment, model=engine.experiment.model)
        self.networks = Networks(base, group, task, *engine.on_device(base), engine.way, engine.mesh)
        self.seconds = cost.seconds(self.networks.jaxpr())

    def check_rates(self, engine: Engine, runs: Iterable[Run]) -> None:
        """Look at the rates of all steps before one is taken.

        Args:
            engine: The rest.
            runs: The networks.

        Raises:
            ConfigError: If one is not allowed; names the configuration.
        """
        own, seen = self.experiment, set()
        a_pass = -(-len(self.splits.train_y) // (own.batch_size * own.accumulate))
        for run in runs:
            rate = rate_of(engine.experiment, run.point)
            if not callable(rate) and not (isinstance(rate, LayerRates) and rate.schedules):
                continue
            steps = a_pass * engine.epochs_of(run)
            kind = (repr(rate), steps)
            if kind in seen:
                continue
            seen.add(kind)
            try:
                schedule_check(rate, 0, steps, steps)(steps)
            except ConfigError as error:
                raise ConfigError(f"configuration {run.index}: {error}") from None

    def metrics(self) -> tuple[str, ...]:
        """Return the names of what rows say of a network."""
        program, own = self.networks.program, self.experiment
        validated = bool(len(self.splits.valid_y)) and bool(own.validate_every)
        classes = "accuracy" in own.metrics or program.task is not None
        names = ["accuracy"] if validated and classes else []
        names += ["train_loss", *(["valid_loss"] if validated else [])]
        names += [name for name in own.metrics if name != "accuracy" and validated]
        return (*names, *(("pulses",) if self.networks.counts_pulses() else ()))


class Call:
    """The networks of a call on their way."""

    def __init__(self, engine: Engine, part: Part, chunk: Chunk, size: int) -> None:
        """Draw them.

        Args:
            engine: The rest.
            part: What they have in common.
            chunk: The networks.
            size: How many the program is for.
        """
        # the last call of a group repeats a network rather than having a program of its own
        runs = chunk.runs + (chunk.runs[-1],) * (size - len(chunk.runs))
        seeds = jnp.asarray([run.seed for run in runs], jnp.uint32)
        keys = jax.vmap(lambda seed: jax.random.fold_in(engine.key, seed))(seeds)
        rates = [parted(rate_of(engine.experiment, run.point))[1] for run in runs]
        self.started = part.networks.start(chunk.group.values(runs), rates, keys)
        self.runs, self.done, self._part = chunk.runs, 0, part
        self.rows: list[list[Row]] = [[] for _ in chunk.runs]
        """Of each network."""
        self.going = list(range(len(chunk.runs)))
        """Networks that have neither diverged nor been given up."""
        self._epochs = [engine.epochs_of(run) for run in chunk.runs]

    @property
    def last(self) -> int:
        """Epochs of the longest of those that go on."""
        return max((self._epochs[index] for index in self.going), default=0)

    def advance(self, until: int, after: Callable[[Call], None] | None = None) -> None:
        """Train up to some number of epochs, each network up to its own.

        Args:
            until: The number.
            after: Called after each epoch.
        """
        while self.done < min(until, self.last):
            some = [index for index in self.going if self._epochs[index] > self.done]
            for index, found in self.started.epoch(self.done, some).items():
                row = _row(self._part, self.runs[index], found, self.done)
                self.rows[index].append(row)
                if row["diverged"]:
                    self.going.remove(index)
            self.done += 1
            if after is not None:
                after(self)

    def flat(self) -> list[Row]:
        """Return all rows, network by network."""
        return [row for each in self.rows for row in each]

    def go_on(self, rows: list[Row], done: int, arrays: dict[str, np.ndarray], source: str) -> None:
        """Go on from what was kept of the same call.

        Args:
            rows: Its rows.
            done: Epochs that were done.
            arrays: Its state.
            source: Where they come from, for errors.

        Raises:
            CheckpointError: If they are those of other networks.
        """
        self.started.go_on(arrays, source)
        self.recall(rows, done)

    def recall(self, rows: list[Row], done: int) -> None:
        """Take what was said of the same networks before, without their states.

        Args:
            rows: What was said.
            done: Epochs that were done.
        """
        self.done = done
        for index, run in enumerate(self.runs):
            self.rows[index] = [row for row in rows if (row["index"], row["seed"]) == (run.index, run.seed)]
        self.going = [index for index in self.going if not (self.rows[index] and self.rows[index][-1]["diverged"])]


def rate_of(experiment: BasicTraining, point: Point) -> Any:
    """Return the learning rate of a configuration.

    Args:
        experiment: What is varied.
        point: The configuration.
    """
    return check_rates(changed_fields(experiment, point).get(RATE, experiment.learning_rate))


def _row(part: Part, run: Run, found: Found, number: int) -> Row:
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
