"""How good a model is over time, on many chips: all chips and times in one compiled call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key, Num

from aihwjax import random
from aihwjax.errors import ConfigError, DataError, ShapeError
from aihwjax.inference.chip import checked_time
from aihwjax.nn.calling import call
from aihwjax.nn.peak_memory import default_memory, needed
from aihwjax.nn.programming import drift, program, tiles_of
from aihwjax.nn.variables import ModelState
from aihwjax.random import Noise
from aihwjax.tile.checks import as_numbers, ascending_times

Metric: TypeAlias = Callable[[Any, Any], Float[Array, ""]]
"""``(outputs, targets) -> number`` of all examples."""


def accuracy(outputs: Float[Array, "n classes"], targets: Num[Array, " n"]) -> Float[Array, ""]:
    """Return the fraction of examples whose largest output is that of their class.

    Args:
        outputs: ``(n, classes)``.
        targets: The class of each example.
    """
    return jnp.mean(jnp.argmax(outputs, axis=-1) == targets)


@dataclass(frozen=True)
class OverTime:
    """What :func:`evaluate_over_time` found: a value for each chip and time."""

    name: str
    """Name of the metric."""
    times: Float[np.ndarray, " times"]
    """Seconds after programming."""
    values: Float[np.ndarray, "chips times"]
    """The metric of every chip at every time."""

    @property
    def mean(self) -> Float[np.ndarray, " times"]:
        """Mean over chips at each time."""
        return self.values.mean(axis=0)

    @property
    def std(self) -> Float[np.ndarray, " times"]:
        """Standard deviation over chips at each time."""
        return self.values.std(axis=0)

    def rows(self) -> list[dict[str, float]]:
        """Return a row for each chip and time, with the entries ``chip``, ``time`` and the name of the metric."""
        chips = enumerate(self.values.tolist())
        every = self.times.tolist()
        return [{"chip": n, "time": t, self.name: v} for n, row in chips for t, v in zip(every, row, strict=True)]

    def __str__(self) -> str:
        """Return a table with a line for each time."""
        lines = [f"{'time (s)':>12}  {self.name:>10}  {'spread':>8}  {'lowest':>8}  {'highest':>8}"]
        parts = zip(self.times, self.mean, self.std, self.values.min(0), self.values.max(0), strict=True)
        lines += [f"{t:12.4g}  {m:10.4f}  {s:8.4f}  {low:8.4f}  {high:8.4f}" for t, m, s, low, high in parts]
        return "\n".join(lines)


def evaluate_over_time(
    model: nnx.Module,
    data: tuple[Any, Any],
    times: Sequence[float],
    repeats: int,
    key: Noise,
    *,
    metric: Metric = accuracy,
    memory: int | None = None,
    mesh: Mesh | None = None,
) -> OverTime:
    """Program a model onto many chips and evaluate each at several times.

    Each chip is programmed once, and drifts from there to every time with noise of its own; see :func:`aihwjax.program`
    and :func:`aihwjax.drift`. As many chips go at once as the memory allows, the others follow in the same program.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> layer = aj.nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
        >>> data = jnp.ones((10, 4)), jnp.zeros(10, int)
        >>> result = aj.evaluate_over_time(layer, data, [1.0, 86400.0], repeats=2, key=0)
        >>> result.values.shape
        (2, 2)

    Args:
        model: Any NNX module with analog layers; it stays as it is.
        data: Inputs and targets, arrays with the examples as first axis.
        times: Seconds after programming, ascending, from 0 on.
        repeats: Number of chips.
        key: Source of all noise.
        metric: What is evaluated: a function of all outputs and targets, of module level, so that it is compiled once.
        memory: Bytes that chips evaluated at once may take, by an estimate that counts every array of the
            program, on each device; ``None``: a quarter of what the device has, on a CPU 256 MiB. Values do not depend
            on it.
        mesh: Devices among which the chips are divided, along all axes of the mesh; ``None``: one device has all.
            A chip has the same noise on any device.

    Raises:
        ModuleError: If the model has no analog layer.
        ConfigError: If a tile has no noise model, the times are not ascending or one is not allowed, ``repeats`` is no
            number of at least 1, the memory is less than one chip takes, or the mesh is none of this process.
        DataError: If the data are no pair of arrays.
        ShapeError: If there are more or fewer targets than inputs.
    """
    seconds = _checked_times(model, times)
    if isinstance(repeats, bool) or not isinstance(repeats, int | np.integer) or repeats < 1:
        raise ConfigError(f"repeats={repeats!r} is not allowed: give a whole number of at least 1")
    x, y = _checked_data(data)
    _check_mesh(mesh)
    graph, state = nnx.split(model)
    source = random.plain(key)
    given = _Given(state, seconds, x, y)
    devices = 1 if mesh is None else mesh.size
    each = -(-int(repeats) // devices)
    turns = -(-each // _at_once(graph, metric, given, source, memory, mesh))
    at_once = -(-each // turns)
    # a few chips too many rather than a last turn with a program of its own
    keys = jax.vmap(partial(jax.random.fold_in, source))(jnp.arange(devices * turns * at_once))
    if mesh is not None:
        given = jax.device_put(given, NamedSharding(mesh, PartitionSpec()))
        keys = jax.device_put(keys, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))
    values = _evaluated(graph, metric, at_once, mesh, given, keys)[: int(repeats)]
    name = getattr(metric, "__name__", "metric")
    return OverTime(name, np.asarray(seconds, np.float64), np.asarray(values, np.float64))


class _Given(NamedTuple):
    """What every chip is made of and asked."""

    state: ModelState
    times: Float[Array, " times"]
    x: Num[Array, "n ..."]
    y: Num[Array, "n ..."]


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _evaluated(
    graph: nnx.GraphDef[Any],
    metric: Metric,
    at_once: int,
    mesh: Mesh | None,
    given: _Given,
    keys: Key[Array, " chips"],
) -> Float[Array, "chips times"]:
    def in_turns(given: _Given, keys: Key[Array, " some"]) -> Float[Array, "some times"]:
        one = partial(_one_chip, graph, metric, given)
        return lax.map(one, keys) if at_once == 1 else lax.map(one, keys, batch_size=at_once)

    if mesh is None:
        return in_turns(given, keys)
    whole, divided = PartitionSpec(), PartitionSpec(mesh.axis_names)
    # no chip asks for another: there is nothing whose replication could be checked
    run = jax.shard_map(in_turns, mesh=mesh, in_specs=(whole, divided), out_specs=divided, check_vma=False)
    return run(given, keys)


@partial(jax.jit, static_argnums=(0, 1))  # traced once for the estimate of its memory and the program around it
def _one_chip(graph: nnx.GraphDef[Any], metric: Metric, given: _Given, key: Key[Array, ""]) -> Float[Array, " times"]:
    state, times, x, y = given
    source = random.stream(key, random.NoiseEngine.COUNTER)
    chip = program(nnx.merge(graph, state, copy=True), source.child("program"))
    kept, chip_state = nnx.split(chip)

    def at(numbered: tuple[jax.Array, jax.Array]) -> jax.Array:
        number, t = numbered
        own = source.child("time").child(number)
        late = drift(nnx.merge(kept, chip_state, copy=True), t, own.child("drift"))
        late.eval()
        return jnp.asarray(metric(call(late, x, key=own.child("read")), y), jnp.float32)

    return lax.map(at, (jnp.arange(times.shape[0]), times))


def _at_once(
    graph: nnx.GraphDef[Any],
    metric: Metric,
    given: _Given,
    key: Key[Array, ""],
    memory: int | None,
    mesh: Mesh | None,
) -> int:
    """Return how many chips fit into the memory of a device."""
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int | np.integer) or memory < 1):
        raise ConfigError(f"memory={memory!r} is not allowed: give a number of bytes")
    chip = needed(_one_chip.trace(graph, metric, given, key).jaxpr.jaxpr)
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


def _checked_times(model: nnx.Module, times: Sequence[float]) -> Float[Array, " times"]:
    seconds = ascending_times("times", times)
    for tile in tiles_of(model).values():
        noise_model = tile.config.get_value().noise_model
        for t in seconds.tolist():
            if noise_model is not None:
                checked_time(noise_model, t)
    return jnp.asarray(seconds, jnp.float32)


def _checked_data(data: object) -> tuple[Num[Array, "n ..."], Num[Array, "n ..."]]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise DataError(f"data={type(data).__name__} is not allowed: give a pair of inputs and targets")
    x, y = (jnp.asarray(as_numbers(name, part)) for name, part in zip(("inputs", "targets"), data, strict=True))
    if x.ndim < 1 or y.ndim < 1 or len(x) != len(y) or len(x) == 0:
        raise ShapeError(f"data with inputs {x.shape} and targets {y.shape} is not allowed: give one target an input")
    return x, y
