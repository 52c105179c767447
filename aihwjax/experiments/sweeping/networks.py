"""The compiled programs of a group of networks: drawing them, and one epoch of all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aihwjax import optim, random
from aihwjax.devices import counts
from aihwjax.experiments import loop
from aihwjax.experiments.arrays import own_buffers
from aihwjax.experiments.batches import Split
from aihwjax.experiments.divergence import finite_leaves
from aihwjax.experiments.fitting import program_of
from aihwjax.experiments.sweeping.plan import Group
from aihwjax.experiments.sweeping.points import redraw
from aihwjax.experiments.tasks import Task
from aihwjax.experiments.training import BasicTraining
from aihwjax.layer_rates import parted
from aihwjax.nn.peak_memory import needed
from aihwjax.typing import Key

# one network of many is no program of its own, with options of its own
_train_epoch, _validate = inspect.unwrap(loop.train_epoch), inspect.unwrap(loop.validate)


DEVICES = "devices"
"""Name of the noise source of devices; a number would be that of an epoch, whose key an epoch has for itself."""


class Found(NamedTuple):
    """What leaves the device after an epoch, of each network."""

    totals: loop.Totals
    """As of a single run."""
    sound: jax.Array
    """Whether everything that was finite at the start still is, ``(networks,)``."""
    pulses: Any
    """Counters of pulses, if devices count them."""


class Networks:
    """Networks of one group, trained by one program for a fixed number of them."""

    def __init__(
        self,
        experiment: BasicTraining,
        group: Group,
        task: Task | None,
        train: Split,
        valid: Split | None,
        way: str,
        mesh: Mesh | None = None,
    ) -> None:
        """Prepare; nothing is compiled yet.

        Args:
            experiment: With the choices of the group; its numbers are those of the model where none is varied.
            group: The networks.
            task: When a prediction is right.
            train: Training set, on the device.
            valid: Validation set; ``None``: there is none.
            way: ``"map"``: one after the other; ``"vmap"``: side by side.
            mesh: Devices among which the networks are divided; ``None``: one device has all.
        """
        self.experiment, self._group, self._way, self._mesh = experiment, group, way, mesh
        if mesh is not None:
            train, valid = jax.device_put((train, valid), NamedSharding(mesh, PartitionSpec()))
        self._train, self._valid = train, valid
        self._start = nnx.split(experiment.model)
        self._own_rate = "learning_rate" in group.numbers
        schedule, self._rate = parted(experiment.learning_rate)
        schedule = None if self._own_rate else schedule
        shapes = jax.eval_shape(self._drawn, self._start[1], self._example(), jax.random.key(0))
        self._shapes = shapes
        model = nnx.merge(self._graph, shapes[0][0], shapes[1])
        self.program = program_of(experiment, self._graph, model, train.y.shape[0], task, schedule)
        self._draw = jax.jit(self._over(self._drawn, (None, 0, 0)))
        self._epoch = jax.jit(
            self._over(self._one_epoch, (0, 0, 0, 0, 0, None, None, None)),
            donate_argnums=0,
            compiler_options={"xla_cpu_prefer_vector_width": 512},
        )

    def _example(self) -> dict[str, jax.ShapeDtypeStruct]:
        return {path: jax.ShapeDtypeStruct((), jnp.float32) for path in self._group.numbers}

    def _over(self, function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        """Return a function of one network as one of all, in the way that was chosen, on each device for its own."""
        across = self._in_one_place(function, axes)
        if self._mesh is None:
            return across
        whole, divided = PartitionSpec(), PartitionSpec(self._mesh.axis_names)
        specs = tuple(whole if axis is None else divided for axis in axes)
        # no network asks for another: there is nothing whose replication could be checked
        return jax.shard_map(across, mesh=self._mesh, in_specs=specs, out_specs=divided, check_vma=False)

    def _in_one_place(self, function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        if self._way == "vmap":
            return jax.vmap(function, axes)

        def each(*arguments: Any) -> Any:
            moving = [argument for argument, axis in zip(arguments, axes, strict=True) if axis == 0]

            def one(own: list[Any]) -> Any:
                rest = iter(own)
                return function(*(next(rest) if axis == 0 else a for a, axis in zip(arguments, axes, strict=True)))

            return lax.map(one, moving)

        return each

    def _drawn(self, start: Any, values: dict[str, jax.Array], key: Key) -> tuple[loop.TrainState, Any, jax.Array]:
        """Return the state of one network before its first step, its configurations, and which leaves are finite."""
        model = nnx.merge(self._start[0], start, copy=True)
        redraw(model, {**self._group.choices, **values}, random.fold(key, DEVICES))
        model.train()
        self._graph, moving, fixed = optim.take_apart(model)
        rate = self._rate if not self._own_rate else np.float32(0)
        state = moving, optim.with_rate(self.experiment.optimizer, rate).init(model)
        return state, fixed, finite_leaves(state)

    def _one_epoch(
        self,
        state: loop.TrainState,
        fixed: Any,
        finite: jax.Array,
        rate: Any,
        key: Key,
        train: Split,
        valid: Split | None,
        number: jax.Array,
    ) -> tuple[loop.TrainState, Found]:
        program = self.program
        state, steps = _train_epoch(program, state, fixed, rate, train, key, number)
        totals = loop.Totals(steps.loss, None, jnp.int32(0), None, steps.weight)
        if valid is not None:
            losses, correct, predictions = _validate(program, state[0], fixed, valid, key, number)
            totals = loop.Totals(steps.loss, losses, correct, predictions, steps.weight)
        sound = (~finite | finite_leaves(state)).all()
        return state, Found(totals, sound, counts.counters(state[0]))

    def needed(self) -> tuple[int, int]:
        """Return the bytes that each network takes, and those that a call takes besides, estimated from the program."""
        state, fixed, finite = self._shapes
        rate = jax.ShapeDtypeStruct((), jnp.float32) if self._own_rate else self._rate
        arguments = state, fixed, finite, rate, jax.random.key(0), self._train, self._valid, jnp.uint32(0)
        program = jax.jit(self._one_epoch).trace(*arguments).jaxpr.jaxpr
        own = sum(_bytes(leaf) for leaf in jax.tree.leaves((state, fixed)))
        working = needed(program) - sum(_bytes(leaf) for leaf in jax.tree.leaves(arguments))
        # one after the other, the working memory is that of one; the state stands twice, before and after
        return (own + working, 0) if self._way == "vmap" else (2 * own, working)

    def start(self, values: dict[str, np.ndarray], keys: Key) -> Started:
        """Draw networks.

        Args:
            values: Numbers by path, ``(networks,)``.
            keys: Key of the run of each.
        """
        numbers = {path: jnp.asarray(value) for path, value in values.items()}
        state, fixed, finite = self._draw(self._start[1], numbers, keys)
        if self._own_rate:
            rate: Any = numbers["learning_rate"]
        else:
            rate = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(keys), *np.shape(leaf))), self._rate)
        return Started(self, own_buffers(state), fixed, finite, rate, keys)


class Started:
    """Networks that are being trained."""

    def __init__(
        self, networks: Networks, state: loop.TrainState, fixed: Any, finite: jax.Array, rate: Any, keys: Key
    ) -> None:
        """Keep what :meth:`Networks.start` drew."""
        self._networks, self._state = networks, state
        self._numbers = fixed, finite, rate, keys

    def epoch(self, number: int) -> Found:
        """Train one epoch and return what it says, on the host.

        Args:
            number: The epoch, from 0.
        """
        own = self._networks
        turn = jnp.uint32(number)
        self._state, found = own._epoch(self._state, *self._numbers, own._train, own._valid, turn)
        return jax.device_get(found)


def _bytes(leaf: Any) -> int:
    size, dtype = np.prod(np.shape(leaf), dtype=np.int64), getattr(leaf, "dtype", None)
    return int(size) * getattr(dtype, "itemsize", 4)


def network(found: Found, index: int) -> Found:
    """Return what one network says."""
    return jax.tree.map(lambda leaf: leaf[index], found)
