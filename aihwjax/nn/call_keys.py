"""Keys of layers that are called without one, and the number of their calls.

While :func:`aihwjax.nn.call` runs, each analog layer holds a key and a count. Both are ordinary NNX state, so that
Flax's transformations carry them: layers that are stacked have a key each, a loop over time counts on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import jax
from flax import nnx
from flax.errors import TraceContextError

from aihwjax import random
from aihwjax.errors import ModuleError
from aihwjax.random import Noise

_local = threading.local()


class CallKey(nnx.Variable[Any]):
    """Key of a layer and number of its calls, while :func:`call` runs."""


class Loop:
    """One step of a loop over time: calls inside it are numbered by the step, and counted as one when it ends."""

    def __init__(self, step: jax.Array) -> None:
        self.step = step
        self.calls: dict[int, tuple[CallKey, int]] = {}
        """Variables by identity, with the number of calls in the step."""

    def number(self, variable: CallKey) -> int:
        """Return the number of calls of a layer in this step so far."""
        return self.calls.get(id(variable), (variable, 0))[1]


_Body: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]


def next_key(variable: CallKey, name: str) -> Noise:
    """Return the key of the next call of a layer.

    Args:
        variable: Key and count of the layer.
        name: The layer, for errors.

    Raises:
        ModuleError: If the call is in a function of JAX's own that cannot carry the count.
    """
    noise, count = variable.get_value()
    key, loops = random.derive(noise, count), _loops()
    for loop in loops:
        key = random.derive(random.derive(key, loop.step), loop.number(variable))
    if loops:
        loops[-1].calls[id(variable)] = variable, loops[-1].number(variable) + 1
        return key
    try:
        variable.set_value((noise, count + 1))
    except TraceContextError:
        raise ModuleError(
            f"{name} is called without a key inside a function that jax.jit, jax.vmap, lax.scan or the like traces, "
            "where its calls are not counted: use the transformation of nnx (nnx.scan, nnx.vmap) or aihwjax.nn.scan, "
            "or give key="
        ) from None
    return key


def numbered(body: _Body) -> tuple[_Body, Callable[[], None]]:
    """Return a body that takes the number of its step with its input, and what is to be done after the loop.

    Args:
        body: Of a loop over time, ``(carry, x) -> (carry, y)``.
    """
    seen: dict[int, CallKey] = {}

    def step(carry: Any, inputs: Any) -> tuple[Any, Any]:
        loop = Loop(inputs[0])
        _loops().append(loop)
        try:
            return body(carry, inputs[1])
        finally:
            _loops().pop()
            seen.update({key: variable for key, (variable, _) in loop.calls.items()})

    def after() -> None:
        for variable in seen.values():
            next_key(variable, "a layer")

    return step, after


def _loops() -> list[Loop]:
    if not hasattr(_local, "loops"):
        _local.loops = []
    return _local.loops


def running() -> bool:
    """Whether a call without keys is being made."""
    return getattr(_local, "depth", 0) > 0


@contextmanager
def counting() -> Iterator[None]:
    """Make a call without keys: its layers are not those of a model around it."""
    _local.depth = getattr(_local, "depth", 0) + 1
    outer, _local.loops = _loops(), []
    try:
        yield
    finally:
        _local.depth -= 1
        _local.loops = outer
