"""Tiles and configurations in Flax's own format, msgpack (``flax.serialization``)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from aihwjax.errors import CheckpointError

_known: set[type] = set()


def make_storable(kind: type) -> None:
    """Let ``flax.serialization`` store values of a class of pytrees as their arrays and numbers by path.

    Restoring needs a value of the same structure, such as that of a model that was made in the same way.

    Args:
        kind: A class that is registered as a pytree.
    """
    if kind not in _known:
        _known.add(kind)
        serialization.register_serialization_state(kind, _to_state, _from_state)


def _to_state(value: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(value)}


def _from_state(like: Any, stored: dict[str, Any]) -> Any:
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    wanted = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    if set(wanted) != set(stored):
        odd = sorted(set(wanted) ^ set(stored))[0]
        where = "is missing in what was stored" if odd in wanted else "was stored and has no place in this model"
        raise CheckpointError(f"{type(like).__name__}{odd} {where}: restore into a model that was made in the same way")
    return jax.tree.unflatten(tree, [_restored(name, leaf, stored[name]) for name, leaf in wanted.items()])


def _restored(name: str, like: Any, value: Any) -> Any:
    if np.shape(like) != np.shape(value):
        raise CheckpointError(f"{name} was stored with shape {np.shape(value)}, this model has {np.shape(like)}")
    return jnp.asarray(value) if isinstance(like, jax.Array) else value
