"""The compiled programs of a group of networks: drawing them, and one epoch of those that go on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
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
from aihwjax.experiments.arrays import from_arrays, own_buffers, to_arrays
from aihwjax.experiments.batches import Split
from aihwjax.experiments.divergence import finite_leaves
from aihwjax.experiments.fitting import program_of
from aihwjax.experiments.sweeping.plan import Group
from aihwjax.experiments.sweeping.points import of_layers, redraw
from aihwjax.experiments.tasks import Task
from aihwjax.experiments.training import BasicTraining
from aihwjax.layer_rates import parted
from aihwjax.nn.peak_memory import needed
from aihwjax.typing import Key

# one network of many is no program of its own, with options of its own
_train_epoch, _validate = inspect.unwrap(loop.train_epoch), inspect.unwrap(loop.validate)


DEVICES = "devices"
"""Name of the noise source of devices; a number would be that of an epoch, whose key an epoch has for itself."""

_OPTIONS = {"xla_cpu_prefer_vector_width": 512}


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
        self.experiment, self._group, self.way, self.mesh = experiment, group, way, mesh
        if mesh is not None:
            train, valid = jax.device_put((train, valid), NamedSharding(mesh, PartitionSpec()))
        self._train, self._valid = train, valid
        self._start = nnx.split(experiment.model)
        # traced once, for the estimates, for what it returns and in the program around it
        self._one = jax.jit(self._one_epoch)
        schedule, self._rate = parted(experiment.learning_rate)
        self._shapes = jax.eval_shape(self.drawn, self._start[1], self._example(), jax.random.key(0))
        model = nnx.merge(self._graph, self._shapes[0][0], self._shapes[1])
        self.program = program_of(experiment, self._graph, model, train.y.shape[0], task, schedule)
        axes = None, 0, 0
        self._draw = jax.jit(self._divided(self._over(self.drawn, axes), axes))
        epoch = self._some if way == "map" else self._all
        divided = self._divided(epoch, (0, 0, None, None, None, *((0, 0) if way == "map" else ())))
        self._epoch = jax.jit(divided, donate_argnums=0, compiler_options=_OPTIONS)

    def _example(self) -> dict[str, jax.ShapeDtypeStruct]:
        return {path: jax.ShapeDtypeStruct((), jnp.float32) for path in self._group.numbers}

    def _divided(self, function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        """Return a function of all networks in which each device has its own ones."""
        if self.mesh is None:
            return function
        whole, divided = PartitionSpec(), PartitionSpec(self.mesh.axis_names)
        specs = tuple(whole if axis is None else divided for axis in axes)
        # no network asks for another: there is nothing whose replication could be checked
        return jax.shard_map(function, mesh=self.mesh, in_specs=specs, out_specs=divided, check_vma=False)

    def _over(self, function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        """Return a function of one network as one of all, in the way that was chosen."""
        if self.way == "vmap":
            return jax.vmap(function, axes)

        def each(*arguments: Any) -> Any:
            moving = [argument for argument, axis in zip(arguments, axes, strict=True) if axis == 0]

            def one(own: list[Any]) -> Any:
                rest = iter(own)
                return function(*(next(rest) if axis == 0 else a for a, axis in zip(arguments, axes, strict=True)))

            return lax.map(one, moving)

        return each

    def drawn(self, start: Any, values: dict[str, jax.Array], key: Key) -> tuple[loop.TrainState, Any, jax.Array]:
        """Return the state of one network before its first step, its configurations, and which leaves are finite.

        Args:
            start: State of the experiment's model, as :meth:`template` returns it.
            values: Numbers by path.
            key: Key of the run.
        """
        model = nnx.merge(self._start[0], start, copy=True)
        own = self.experiment.replace(model=model)
        redraw(model, of_layers(own, {**self._group.choices, **values}), random.fold(key, DEVICES))
        model.train()
        self._graph, moving, fixed = optim.take_apart(model)
        state = moving, optim.with_rate(self.experiment.optimizer, self._rate).init(model)
        return state, fixed, finite_leaves(state)

    def template(self) -> Any:
        """Return the state of the experiment's model."""
        return self._start[1]

    def final_loss(
        self, start: Any, values: dict[str, jax.Array], rate: Any, key: Key, epochs: int, train: Split, data: Split
    ) -> jax.Array:
        """Return the mean loss of one network on some data after it was trained.

        Args:
            start: State of the experiment's model.
            values: Numbers by path.
            rate: The learning rate, as :func:`aihwjax.layer_rates.parted` returns it.
            key: Key of the run.
            epochs: Epochs.
            train: Training set.
            data: What the loss is of.
        """
        program = self.program
        state, fixed, _ = self.drawn(start, values, key)

        def one(state: loop.TrainState, number: jax.Array) -> tuple[loop.TrainState, None]:
            return _train_epoch(program, state, fixed, rate, train, key, number)[0], None

        numbers = jnp.arange(epochs, dtype=jnp.uint32)
        state, _ = lax.scan(one, state, numbers)
        losses, _, _ = _validate(program, state[0], fixed, data, key, jnp.uint32(epochs - 1))
        return losses.sum() / (data.y.shape[0] if data.weight is None else data.weight.sum())

    def _one_epoch(
        self,
        state: loop.TrainState,
        own: tuple[Any, jax.Array, Any, Key],
        train: Split,
        valid: Split | None,
        number: jax.Array,
    ) -> tuple[loop.TrainState, Found]:
        """Train an epoch of one network; its own are configurations, finite leaves, learning rate and key."""
        program, (fixed, finite, rate, key) = self.program, own
        state, steps = _train_epoch(program, state, fixed, rate, train, key, number)
        totals = loop.Totals(steps.loss, None, jnp.int32(0), None, steps.weight)
        if valid is not None:
            losses, correct, predictions = _validate(program, state[0], fixed, valid, key, number)
            totals = loop.Totals(steps.loss, losses, correct, predictions, steps.weight)
        sound = (~finite | finite_leaves(state)).all()
        return state, Found(totals, sound, counts.counters(state[0]))

    def _all(
        self, state: loop.TrainState, own: Any, train: Split, valid: Split | None, number: jax.Array
    ) -> tuple[loop.TrainState, Found]:
        """Train an epoch of all networks, side by side."""
        return jax.vmap(self._one, (0, 0, None, None, None))(state, own, train, valid, number)

    def _some(
        self,
        state: loop.TrainState,
        own: Any,
        train: Split,
        valid: Split | None,
        number: jax.Array,
        order: jax.Array,
        count: jax.Array,
    ) -> tuple[loop.TrainState, Found]:
        """Train an epoch of those networks that ``order`` has first, one after the other; the others stay.

        Places and their number ``(1,)`` are those of one device.
        """

        def one(turn: jax.Array, carried: tuple[loop.TrainState, Found]) -> tuple[loop.TrainState, Found]:
            states, found = carried
            place = order[turn]
            new = self._one(_taken(states, place), _taken(own, place), train, valid, number)
            return _put(states, new[0], place), _put(found, new[1], place)

        single = jax.eval_shape(lambda tree: _taken(tree, jnp.int32(0)), (state, own))
        shape = jax.eval_shape(self._one, *single, train, valid, number)[1]
        nothing = jax.tree.map(lambda leaf: jnp.zeros((len(order), *leaf.shape), leaf.dtype), shape)
        return lax.fori_loop(0, count[0], one, (state, nothing))

    def needed(self) -> tuple[int, int]:
        """Return the bytes that each network takes, and those that a call takes besides, estimated from the program."""
        program, arguments = self._traced()
        state, (fixed, *_) = arguments[:2]
        own = sum(_bytes(leaf) for leaf in jax.tree.leaves((state, fixed)))
        working = needed(program) - sum(_bytes(leaf) for leaf in jax.tree.leaves(arguments))
        # one after the other, the working memory is that of one; the state stands twice while it is drawn
        return (own + working, 0) if self.way == "vmap" else (2 * own, working)

    def counts_pulses(self) -> bool:
        """Whether devices count their pulses."""
        return bool(counts.counters(self._shapes[0][0]))

    def jaxpr(self) -> Any:
        """Return the program of an epoch of one network."""
        return self._traced()[0]

    def _traced(self) -> tuple[Any, tuple[Any, ...]]:
        state, fixed, finite = self._shapes
        own = fixed, finite, self._rate, jax.random.key(0)
        arguments = state, own, self._train, self._valid, jnp.uint32(0)
        if not hasattr(self, "_program_of_one"):
            self._program_of_one = self._one.trace(*arguments).jaxpr.jaxpr
        return self._program_of_one, arguments

    def start(self, values: dict[str, np.ndarray], rates: Sequence[Any], keys: Key) -> Started:
        """Draw networks.

        Args:
            values: Numbers by path, ``(networks,)``.
            rates: Learning rate of each, as :func:`aihwjax.layer_rates.parted` returns it.
            keys: Key of the run of each.
        """
        numbers = {path: jnp.asarray(value) for path, value in values.items()}
        state, fixed, finite = self._draw(self._start[1], numbers, keys)
        rate = jax.tree.map(lambda *each: jnp.asarray(np.stack(each)), *rates)
        return Started(self, own_buffers(state), (fixed, finite, rate, keys))


class Started:
    """Networks that are being trained."""

    def __init__(self, networks: Networks, state: loop.TrainState, own: tuple[Any, ...]) -> None:
        """Keep what :meth:`Networks.start` drew."""
        self._networks, self._state, self._own = networks, state, own
        self._width = len(own[3])
        self._places = np.arange(self._width)

    def epoch(self, number: int, going: Sequence[int]) -> dict[int, Found]:
        """Train one epoch of some networks and return what each says, on the host.

        Args:
            number: The epoch, from 0.
            going: Those that go on; of those that don't, nothing is wanted any more.
        """
        own, turn = self._networks, jnp.uint32(number)
        common = own._train, own._valid, turn
        if own.way == "map":
            self._state, found = own._epoch(self._state, self._own, *common, *self._order(going))
        else:
            self._narrow(going)
            self._state, found = own._epoch(self._state, self._own, *common)
        found = jax.device_get(found)
        where = {int(index): place for place, index in enumerate(self._places)}
        return {index: jax.tree.map(lambda leaf, at=where[index]: leaf[at], found) for index in going}

    def _order(self, going: Sequence[int]) -> tuple[jax.Array, jax.Array]:
        """Return the places on each device of those that go on, and how many there are on each."""
        mesh = self._networks.mesh
        devices = 1 if mesh is None else mesh.size
        of_one = self._width // devices
        order, counts_of = np.zeros((devices, of_one), np.int32), np.zeros(devices, np.int32)
        for index in going:
            device, place = divmod(index, of_one)
            order[device, counts_of[device]] = place
            counts_of[device] += 1
        return jnp.asarray(order.reshape(-1)), jnp.asarray(counts_of)

    def _narrow(self, going: Sequence[int]) -> None:
        """Leave out networks that don't go on when that is half of them: side by side, each one costs."""
        width = len(self._places)
        if self._networks.mesh is not None:
            return  # each device would have to find others
        while width > 1 and len(going) <= -(-width // 2):
            width = -(-width // 2)
        if width == len(self._places):
            return
        where = {int(index): place for place, index in enumerate(self._places)}
        kept = [*going, *[going[-1]] * (width - len(going))]
        places = jnp.asarray([where[index] for index in kept])
        self._state, self._own = jax.tree.map(lambda leaf: leaf[places], (self._state, self._own))
        self._places = np.asarray(kept)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state of all networks by name, on the host."""
        return {**to_arrays(self._state), "places": self._places}

    def go_on(self, arrays: dict[str, np.ndarray], source: str) -> None:
        """Go on from :meth:`arrays`.

        Args:
            arrays: The state.
            source: Where it comes from, for errors.

        Raises:
            CheckpointError: If it is that of other networks.
        """
        rest = dict(arrays)
        places = rest.pop("places")
        if len(places) != len(self._places):
            at = jnp.asarray(places)
            self._state, self._own = jax.tree.map(lambda leaf: leaf[at], (self._state, self._own))
        self._places = places
        self._state = own_buffers(from_arrays(self._state, rest, source))


def _taken(tree: Any, place: jax.Array) -> Any:
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, place, keepdims=False), tree)


def _put(tree: Any, new: Any, place: jax.Array) -> Any:
    return jax.tree.map(lambda leaf, one: lax.dynamic_update_index_in_dim(leaf, one, place, 0), tree, new)


def _bytes(leaf: Any) -> int:
    size, dtype = np.prod(np.shape(leaf), dtype=np.int64), getattr(leaf, "dtype", None)
    return int(size) * getattr(dtype, "itemsize", 4)
