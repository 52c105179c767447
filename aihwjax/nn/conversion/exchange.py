"""The exchange of modules in a model, wherever they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from aihwjax.nn.conversion.context import held
from aihwjax.nn.conversion.memory import give_back
from aihwjax.nn.paths import path_text

# Bytes of arrays after which memory is handed back: often enough for the peak, seldom enough for the time
_OFTEN = 2**22


def replaced(
    model: nnx.Module,
    wanted: Callable[[nnx.Module], bool],
    made: Callable[[str, nnx.Module], nnx.Module],
) -> nnx.Module:
    """Replace modules in place, wherever they are referred to, and return the model, or what it becomes itself.

    They are replaced one after the other, inner ones first, so that each can be freed before the next is made.

    Args:
        model: Any NNX module.
        wanted: Which modules are replaced.
        made: What a module with its path becomes.
    """
    waiting = [(path_text(path), part) for path, part in nnx.iter_modules(model) if wanted(part)]
    waiting.reverse()
    holders: dict[int, list[nnx.Module]] = {id(part): [] for _, part in waiting}
    for _, part in nnx.iter_modules(model):
        for child in held(part):
            if id(child) in holders:
                holders[id(child)].append(part)
    give_back()  # what building the model has left
    free = 0  # bytes of what was between the old and the new, and of the old if nobody else holds them
    while waiting:
        path, part = waiting.pop()
        new = made(path, part)
        if part is model:
            return new
        for holder in holders.pop(id(part)):
            _exchange(holder, part, new)
        free += sum(getattr(array, "nbytes", 0) for array in jax.tree.leaves(nnx.state(part)))
        del part
        if free > _OFTEN:
            give_back()
            free = 0
    return model


def _exchange(holder: nnx.Module, old: nnx.Module, new: nnx.Module) -> None:
    for name, value in list(vars(holder).items()):
        if value is old:
            setattr(holder, name, new)
        elif not name.startswith("_pytree") and any(leaf is old for leaf in _leaves(value)):
            setattr(holder, name, nnx.data(_with(value, old, new)))


def _with(value: Any, old: nnx.Module, new: nnx.Module) -> Any:
    """Return a list, dict, tuple or other tree with another module in it; lists and dicts stay themselves."""
    if value is old:
        return new
    if isinstance(value, list):
        value[:] = [_with(entry, old, new) for entry in value]
        return value
    if type(value) is dict:
        value.update({key: _with(entry, old, new) for key, entry in value.items()})
        return value
    if isinstance(value, nnx.Module) or not any(leaf is old for leaf in _leaves(value)):
        return value
    return jax.tree.map(lambda leaf: new if leaf is old else leaf, value, is_leaf=_is_leaf)


def _leaves(value: Any) -> list[Any]:
    return jax.tree.leaves(value, is_leaf=_is_leaf)


def _is_leaf(value: Any) -> bool:
    return isinstance(value, nnx.Variable | nnx.Module)
