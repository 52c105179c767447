"""A call of a model as a function of its variables, of the arrays among its arguments, and of a key."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from flax import nnx

from aihwjax import random
from aihwjax.errors import AihwjaxError, DataError, ModuleError
from aihwjax.nn.calling import call, of_this_library
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.paths import analog_layers
from aihwjax.nn.variables import ModelState
from aihwjax.random import Noise
from aihwjax.typing import Key

Callee: TypeAlias = nnx.Module | Callable[..., Any]
"""A module, or a method of one."""


class Program(NamedTuple):
    """What a call does, as it was traced."""

    jaxpr: Any
    """The program: variables of the model, arrays and key to the result and the variables after it."""
    result: Any
    """Shapes of the result."""
    changed: list[str]
    """Paths of the variables that it changes."""


class PureCall(NamedTuple):
    """A call of a model that was not made yet."""

    module: nnx.Module
    """The module; for a method, the one that it belongs to."""
    function: Callable[..., Any]
    """What is called with the module as first argument."""
    args: tuple[Any, ...]
    """Arguments, with shapes in place of arrays."""
    kwargs: Mapping[str, Any]
    """Further arguments, the same."""

    @property
    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """Shape and type of each array among the arguments, in order."""
        return [leaf for leaf in jax.tree.leaves((self.args, self.kwargs)) if isinstance(leaf, jax.ShapeDtypeStruct)]

    def run(self, module: nnx.Module, arrays: list[Any], key: Noise) -> Any:
        """Call a module in the way that it wants its noise: with a key, or by :func:`aihwjax.nn.call`.

        Args:
            module: The module, or one like it.
            arrays: In place of the shapes.
            key: Source of all noise.
        """
        leaves, tree = jax.tree.flatten((self.args, self.kwargs))
        given = iter(arrays)
        leaves = [next(given) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf for leaf in leaves]
        args, kwargs = jax.tree.unflatten(tree, leaves)
        if "key" in inspect.signature(self.function).parameters:
            own = key if of_this_library(self.function) else random.plain(key)
            return self.function(module, *args, key=own, **kwargs)
        if analog_layers(module):
            return call(self.function.__get__(module), *args, key=key, **kwargs)
        return self.function(module, *args, **kwargs)

    def program(self, key: Key, shapes: list[jax.ShapeDtypeStruct] | None = None) -> Program:
        """Trace a call of a copy whose layers know their place; nothing is computed.

        Args:
            key: Source of all noise, of which only the kind counts.
            shapes: In place of the shapes of the arrays.

        Raises:
            AihwjaxError: What the model raises, with the path of the layer in front.
            DataError: If a layer of another library does not take its input.
        """
        graph, state = nnx.split(self.module)
        shapes = self.shapes if shapes is None else shapes

        def whole(state: ModelState, arrays: list[Any], key: Key) -> Any:
            module = nnx.merge(graph, state, copy=True)
            for path, layer in analog_layers(module).items():
                layer.place = path
            return self.run(module, arrays, key), nnx.state(module)

        try:
            jaxpr, (result, after) = jax.make_jaxpr(whole, return_shape=True)(state, shapes, key)
        except AihwjaxError as error:
            place = _place(error)
            raise (type(error)(f"{place}: {error}") if place else error) from None
        except Exception as error:  # what a model of somebody else raises can be anything
            place, reason = _place(error), " ".join(str(error).split())[:200] or type(error).__name__
            sizes = " and ".join(str(shape.shape) for shape in shapes)
            raise DataError(f"{place or 'the model'} does not take an input of {sizes}: {reason}") from error
        before = dict(zip(_names(state), jaxpr.jaxpr.invars, strict=False))
        names = _names(after)
        outputs = zip(names, jaxpr.jaxpr.outvars[len(jaxpr.jaxpr.outvars) - len(names) :], strict=True)
        return Program(jaxpr, result, [name for name, variable in outputs if before.get(name) is not variable])


def pure_call(model: Callee, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> PureCall:
    """Return a call of a model.

    Args:
        model: A module, or a method of one.
        args: Its arguments. Arrays, and shapes in place of them, can be others in each call; all else is as it is.
        kwargs: Its further arguments, the same.

    Raises:
        ModuleError: If ``model`` is neither, or cannot be called.
    """
    method = inspect.ismethod(model) and isinstance(model.__self__, nnx.Module)
    module = model.__self__ if method else model  # type: ignore[union-attr]
    if not isinstance(module, nnx.Module):
        text = " ".join(repr(model).split())[:60]
        raise ModuleError(f"model={text} is not allowed: give an nnx.Module or a method of one")
    calls = (vars(kind)["__call__"] for kind in type(module).__mro__ if "__call__" in vars(kind))
    function: Any = model.__func__ if method else next(calls, None)  # type: ignore[union-attr]
    if function is None:
        raise ModuleError(f"model={type(module).__name__} has no __call__: give one of its methods")
    args, kwargs = jax.tree.map(_shape, (tuple(args), dict(kwargs)))
    return PureCall(module, function, args, kwargs)


def _shape(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True))


def _names(state: Any) -> list[str]:
    """Return the path of each number, without the step into its variable."""
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(state)]
    return [re.sub(r"/value(?=/|$)", "", name, count=1) for name in names]


def _place(error: BaseException) -> str:
    """Return the path of the analog layer that an error comes from, if it comes from one."""
    place, step = "", error.__traceback__
    while step is not None:
        own = step.tb_frame.f_locals.get("self")
        place = own.place or place if isinstance(own, AnalogLayer) else place
        step = step.tb_next
    return place
