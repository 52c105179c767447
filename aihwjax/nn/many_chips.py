"""Chips of one model by number, asked at several times: as many at once as the memory allows, in one program."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key, Num

from aihwjax import random
from aihwjax.errors import ConfigError
from aihwjax.nn.peak_memory import default_memory, needed
from aihwjax.nn.programming import drift, program
from aihwjax.nn.quantization_ranges import refuse_unknown_ranges
from aihwjax.nn.variables import ModelState
from aihwjax.random import Noise


class Judge(Protocol):
    """What is asked of a chip at one time; compared by value, as programs are compiled for it."""

    def __call__(self, model: nnx.Module, x: Num[Array, "n ..."], y: Num[Array, "n ..."], key: Noise, /) -> Array:
        """Return numbers of any shape.

        Args:
            model: The chip, in the mode for evaluation.
            x: Inputs.
            y: Targets.
            key: Source of the noise of its products.
        """
        ...


class ManyChips:
    """Chips of one model by number, each with noise of its own: a chip is the same however many are evaluated."""

    def __init__(
        self,
        model: nnx.Module,
        data: tuple[Num[Array, "n ..."], Num[Array, "n ..."]],
        times: Float[Array, " times"],
        key: Noise,
        judge: Judge,
        memory: int | None = None,
        mesh: Mesh | None = None,
    ) -> None:
        """Prepare.

        Args:
            model: Any NNX module with analog layers; it stays as it is.
            data: Inputs and targets, checked.
            times: From :func:`checked_times`.
            key: Source of all noise.
            judge: What is asked of each chip at each time.
            memory: As for :func:`evaluate_over_time`.
            mesh: As for :func:`evaluate_over_time`.

        Raises:
            ModuleError: If the model has no analog layer, or the range of quantised outputs is not known.
            ConfigError: If a tile has no noise model, the memory is less than one chip takes, or the mesh is none of
                this process.
        """
        _check_mesh(mesh)
        refuse_unknown_ranges(model)
        self._graph, state = nnx.split(model)
        self._source, self._judge, self._mesh = random.plain(key), judge, mesh
        self._given = _Given(state, times, *data)
        self._on_each = _at_once(self._graph, judge, self._given, self._source, memory, mesh)
        self._devices = 1 if mesh is None else mesh.size
        if mesh is not None:
            self._given = jax.device_put(self._given, NamedSharding(mesh, PartitionSpec()))

    @property
    def at_once(self) -> int:
        """How many chips fit into the memory of all devices."""
        return self._on_each * self._devices

    def values(self, first: int, count: int) -> Float[np.ndarray, "chips times ..."]:
        """Return what is found of some chips at each time, from one compiled call.

        Args:
            first: Number of the first chip.
            count: How many.
        """
        each = -(-count // self._devices)
        turns = -(-each // self._on_each)
        at_once = -(-each // turns)
        # a few chips too many rather than a last turn with a program of its own
        numbers = first + jnp.arange(self._devices * turns * at_once)
        keys = jax.vmap(partial(jax.random.fold_in, self._source))(numbers)
        if self._mesh is not None:
            keys = jax.device_put(keys, NamedSharding(self._mesh, PartitionSpec(self._mesh.axis_names)))
        found = _evaluated(self._graph, self._judge, at_once, self._mesh, self._given, keys)
        return np.asarray(found[:count], np.float64)


class _Given(NamedTuple):
    """What every chip is made of and asked."""

    state: ModelState
    times: Float[Array, " times"]
    x: Num[Array, "n ..."]
    y: Num[Array, "n ..."]


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _evaluated(
    graph: nnx.GraphDef[Any],
    judge: Judge,
    at_once: int,
    mesh: Mesh | None,
    given: _Given,
    keys: Key[Array, " chips"],
) -> Float[Array, "chips times ..."]:
    def in_turns(given: _Given, keys: Key[Array, " some"]) -> Float[Array, "some times ..."]:
        one = partial(_one_chip, graph, judge, given)
        return lax.map(one, keys) if at_once == 1 else lax.map(one, keys, batch_size=at_once)

    if mesh is None:
        return in_turns(given, keys)
    whole, divided = PartitionSpec(), PartitionSpec(mesh.axis_names)
    # no chip asks for another: there is nothing whose replication could be checked
    run = jax.shard_map(in_turns, mesh=mesh, in_specs=(whole, divided), out_specs=divided, check_vma=False)
    return run(given, keys)


@partial(jax.jit, static_argnums=(0, 1))  # traced once for the estimate of its memory and the program around it
def _one_chip(graph: nnx.GraphDef[Any], judge: Judge, given: _Given, key: Key[Array, ""]) -> Float[Array, "times ..."]:
    state, times, x, y = given
    source = random.stream(key, random.NoiseEngine.COUNTER)
    chip = program(nnx.merge(graph, state, copy=True), source.child("program"))
    kept, chip_state = nnx.split(chip)

    def at(numbered: tuple[jax.Array, jax.Array]) -> jax.Array:
        number, t = numbered
        own = source.child("time").child(number)
        late = drift(nnx.merge(kept, chip_state, copy=True), t, own.child("drift"))
        late.eval()
        return judge(late, x, y, own.child("read"))

    return lax.map(at, (jnp.arange(times.shape[0]), times))


def _at_once(
    graph: nnx.GraphDef[Any],
    judge: Judge,
    given: _Given,
    key: Key[Array, ""],
    memory: int | None,
    mesh: Mesh | None,
) -> int:
    """Return how many chips fit into the memory of a device."""
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int | np.integer) or memory < 1):
        raise ConfigError(f"memory={memory!r} is not allowed: give a number of bytes")
    chip = needed(_one_chip.trace(graph, judge, given, key).jaxpr.jaxpr)
    if memory is not None and chip > memory:
        raise ConfigError(f"memory={memory} is not allowed: one chip takes about {chip} bytes, give at least that")
    most = default_memory(None if mesh is None else mesh.devices.flat[0]) if memory is None else int(memory)
    return max(1, most // chip)


def _check_mesh(mesh: object) -> None:
    if mesh is None:
        return
    if not isinstance(mesh, Mesh):
        raise ConfigError(f"mesh={type(mesh).__name__} is not allowed: give a jax.sharding.Mesh, or None")
    if mesh.is_multi_process:
        raise ConfigError("mesh with devices of other processes is not allowed: give one of jax.local_devices()")
