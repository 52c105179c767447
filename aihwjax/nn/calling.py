"""A key for models that call their layers without one.

While :func:`call` runs, each analog layer of a copy of the model holds a key of its own, made from the key of the call
and the layer's path, and the number of its calls so far. Both are ordinary NNX state of the copy, so that Flax's
transformations carry them: layers that are stacked have a key each, a loop over time counts on.
"""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import TraceContextError

from aihwjax import random
from aihwjax.errors import ModuleError
from aihwjax.nn.variables import TileConfigVariable, TileVariable
from aihwjax.random import Noise
from aihwjax.typing import Shape

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


_Call: TypeAlias = Callable[..., Any]
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


def call(model: nnx.Module | _Call, *args: Any, key: Noise, **kwargs: Any) -> Any:
    """Call a model whose layers are called without a key.

    Every analog layer gets a key of its own, derived from ``key``, its path in the model and the number of its call:
    the same key, the same result, bit for bit. A layer that is given a key takes that one. What a call changes in the
    model (batch statistics, random counters) is changed, as without this.

    Works under ``jax.jit``, ``jax.vmap`` over keys and gradients, and with NNX's transformations inside the model
    (``nnx.jit``, ``nnx.remat``, ``nnx.vmap``, ``nnx.scan`` over stacked layers or over time) and with
    :func:`aihwjax.nn.scan`.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from aihwjax import nn
        >>> class Block(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.first, self.second = nn.AnalogLinear(4, 8, rngs=rngs), nn.AnalogLinear(8, 4, rngs=rngs)
        ...     def __call__(self, x):
        ...         return x + self.second(nnx.relu(self.first(x)))
        >>> block = Block(nnx.Rngs(0))
        >>> nn.call(block, jax.numpy.ones((5, 4)), key=jax.random.key(1)).shape
        (5, 4)

    Args:
        model: A module, or a method of one: ``nn.call(model.encode, x, key=key)``.
        *args: Its arguments.
        key: Source of all noise.
        **kwargs: Its further arguments.

    Returns:
        What it returns.

    Raises:
        ModuleError: If ``model`` is neither, or a layer is called where its calls cannot be counted.
        ConfigError: If the key is none.
    """
    method = inspect.ismethod(model) and isinstance(model.__self__, nnx.Module)
    module = model.__self__ if method else model  # type: ignore[union-attr]
    if not isinstance(module, nnx.Module):
        text = " ".join(repr(model).split())[:60]
        raise ModuleError(f"model={text} is not allowed: give an nnx.Module or a method of one")
    noise = random.as_noise(key)
    copy = nnx.merge(*nnx.split(module), copy=True)
    before = _values(copy)
    _give(copy, noise)
    function = model.__func__ if method else type(copy).__call__  # type: ignore[union-attr]
    _local.depth = getattr(_local, "depth", 0) + 1
    outer, _local.loops = _loops(), []  # the calls of this copy are not those of a model around it
    try:
        result = function(copy, *args, **kwargs)
    finally:
        _local.depth -= 1
        _local.loops = outer
    _take_over(module, [(path, v) for path, v in _variables(copy) if v.get_raw_value() is not before.get(path)])
    return result


def _take_over(model: nnx.Module, changed: list[tuple[Any, Any]]) -> None:
    """Write variables that have changed in a copy to the model."""
    if not changed:
        return
    try:
        nnx.update(model, nnx.from_flat_state(changed))
    except TraceContextError:
        # the transformations of nnx return all variables anew, also those that nothing has changed
        moving = [path for path, variable in changed if not isinstance(variable, nnx.Param)]
        if moving:
            where = "/".join(map(str, moving[0]))
            raise ModuleError(
                f"the call changes {where} of a model that is no argument of the compiled function around it: give the "
                "model as an argument of nnx.jit, or call model.eval() before"
            ) from None


# what a forward pass can change: all but keys, tiles and configurations
_LOOSE = nnx.Not(nnx.Any(*map(nnx.OfType, (CallKey, TileVariable, TileConfigVariable))))


def _variables(model: nnx.Module) -> list[tuple[Any, Any]]:
    return list(nnx.to_flat_state(nnx.state(model, _LOOSE)))


def _values(model: nnx.Module) -> dict[Any, Any]:
    return {path: variable.get_raw_value() for path, variable in _variables(model)}


def _give(model: nnx.Module, noise: Noise) -> None:
    """Give each analog layer a key of its own; stacked layers an array of them."""
    from aihwjax.nn.paths import analog_layers, noise_engine

    if not isinstance(noise, random.Stream):
        noise = random.stream(noise, noise_engine(model))
    for path, layer in analog_layers(model).items():
        layer.call_key = nnx.data(CallKey(_spread(random.derive(noise, path), layer.stacked())))


def _spread(noise: Noise, shape: Shape) -> tuple[Any, jax.Array]:
    if not shape:
        return noise, jnp.zeros((), jnp.int32)

    def own(number: jax.Array) -> Noise:
        return random.derive(noise, number)

    for _ in shape:
        own = jax.vmap(own)
    return own(jnp.arange(math.prod(shape)).reshape(shape)), jnp.zeros(shape, jnp.int32)
