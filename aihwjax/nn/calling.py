"""Calls of models whose layers are called without a key."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import TraceContextError

from aihwjax import random
from aihwjax.errors import ModuleError
from aihwjax.nn.call_keys import CallKey, counting
from aihwjax.nn.paths import analog_layers, noise_engine
from aihwjax.nn.variables import ChipVariable, TileConfigVariable, TileVariable
from aihwjax.random import Noise
from aihwjax.typing import Shape

_Call: TypeAlias = Callable[..., Any]


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
    with counting():
        result = function(copy, *args, **kwargs)
    _take_over(module, [(path, v) for path, v in _variables(copy) if v.get_raw_value() is not before.get(path)])
    return result


@functools.cache
def takes_key(kind: type) -> bool:
    """Whether modules of this class are called with ``key=``.

    A module that needs noise has an argument ``key``; all others are called with their input only.
    """
    return "key" in inspect.signature(kind.__call__).parameters


def of_this_library(code: Any) -> bool:
    """Whether a class or function is one of this library: only those know its streams of noise."""
    return str(getattr(code, "__module__", "")).partition(".")[0] == "aihwjax"


def apply(module: nnx.Module, x: Any, key: Noise | None) -> Any:
    """Call a module of one input in the way that it wants its noise.

    Args:
        module: Any NNX module: its call has an argument ``key``, or not.
        x: The input.
        key: Source of the noise; ``None``: there is none.
    """
    kind: Any = type(module)
    function: Any = module
    if takes_key(kind):
        return function(x, key=key if key is None or of_this_library(kind) else random.plain(key))
    if key is not None and analog_layers(module):
        return call(module, x, key=key)
    return function(x)


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
_LOOSE = nnx.Not(nnx.Any(*map(nnx.OfType, (CallKey, TileVariable, TileConfigVariable, ChipVariable))))


def _variables(model: nnx.Module) -> list[tuple[Any, Any]]:
    return list(nnx.to_flat_state(nnx.state(model, _LOOSE)))


def _values(model: nnx.Module) -> dict[Any, Any]:
    return {path: variable.get_raw_value() for path, variable in _variables(model)}


def _give(model: nnx.Module, noise: Noise) -> None:
    """Give each analog layer a key of its own; stacked layers an array of them."""
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
