"""Chips of one model by number, asked at several times: as many at once as the memory allows, in one program."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.extend.core import Literal, jaxprs_in_params
from jaxtyping import Array, Float, Key, Num

from aihwjax import random
from aihwjax.errors import ConfigError
from aihwjax.nn.programming import drift, program
from aihwjax.nn.variables import ModelState
from aihwjax.random import Noise

_SHARE = 0.25
"""Part of the memory of an accelerator that is used if nothing is said."""
_ON_CPU = 2**28
"""Bytes that are used on a CPU if nothing is said: beyond the caches more chips at once are not faster."""


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
    ) -> None:
        """Prepare.

        Args:
            model: Any NNX module with analog layers; it stays as it is.
            data: Inputs and targets, checked.
            times: From :func:`checked_times`.
            key: Source of all noise.
            judge: What is asked of each chip at each time.
            memory: As for :func:`evaluate_over_time`.

        Raises:
            ModuleError: If the model has no analog layer.
            ConfigError: If a tile has no noise model, or the memory is less than one chip takes.
        """
        self._graph, state = nnx.split(model)
        self._source, self._judge = random.plain(key), judge
        self._given = _Given(state, times, *data)
        self.at_once: int = _at_once(self._graph, judge, self._given, self._source, memory)
        """How many chips fit into the memory."""

    def values(self, first: int, count: int) -> Float[np.ndarray, "chips times ..."]:
        """Return what is found of some chips at each time, from one compiled call.

        Args:
            first: Number of the first chip.
            count: How many.
        """
        turns = -(-count // self.at_once)
        at_once = -(-count // turns)
        # a few chips too many rather than a last turn with a program of its own
        keys = jax.vmap(partial(jax.random.fold_in, self._source))(first + jnp.arange(turns * at_once))
        found = _evaluated(self._graph, self._judge, at_once, self._given, keys)
        return np.asarray(found[:count], np.float64)


class _Given(NamedTuple):
    """What every chip is made of and asked."""

    state: ModelState
    times: Float[Array, " times"]
    x: Num[Array, "n ..."]
    y: Num[Array, "n ..."]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _evaluated(
    graph: nnx.GraphDef[Any],
    judge: Judge,
    at_once: int,
    given: _Given,
    keys: Key[Array, " chips"],
) -> Float[Array, "chips times ..."]:
    one = partial(_one_chip, graph, judge, given)
    return lax.map(one, keys) if at_once == 1 else lax.map(one, keys, batch_size=at_once)


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
) -> int:
    """Return how many chips fit into the memory."""
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int | np.integer) or memory < 1):
        raise ConfigError(f"memory={memory!r} is not allowed: give a number of bytes")
    program = _one_chip.trace(graph, judge, given, key).jaxpr.jaxpr
    needed = sum(_bytes(var) for var in program.invars) + _peak(program)
    if memory is not None and needed > memory:
        raise ConfigError(f"memory={memory} is not allowed: one chip takes about {needed} bytes, give at least that")
    return max(1, (_default_memory() if memory is None else int(memory)) // needed)


def _bytes(var: Any) -> int:
    shape = getattr(var.aval, "shape", ())
    itemsize = getattr(getattr(var.aval, "dtype", None), "itemsize", 4)
    return int(np.prod(shape, dtype=np.int64)) * itemsize


def _peak(jaxpr: Any) -> int:
    """Return the bytes of the results of a program that are needed at the same time, at most, as if none were fused."""
    last = {}
    for place, equation in enumerate(jaxpr.eqns):
        for var in equation.invars:
            if not isinstance(var, Literal):
                last[var] = place
    live, highest = 0, 0
    ends: dict[int, list[Any]] = {}
    for place, equation in enumerate(jaxpr.eqns):
        inner = max((_peak(each) for each in jaxprs_in_params(equation.params)), default=0)
        live += sum(_bytes(var) for var in equation.outvars)
        highest = max(highest, live + inner)
        for var in equation.outvars:
            ends.setdefault(last.get(var, place), []).append(var)
        live -= sum(_bytes(var) for var in ends.pop(place, []))
    return highest


def _default_memory() -> int:
    if jax.default_backend() == "cpu":
        return _ON_CPU
    known = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return int(_SHARE * known) if known else _ON_CPU
