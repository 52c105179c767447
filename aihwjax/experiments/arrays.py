"""A pytree as named arrays, bit for bit, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypedDict, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax.errors import CheckpointError

_Tree = TypeVar("_Tree")
# Fields of a mismatch that an error names
_SHOWN = 5


class ArraySpec(TypedDict):
    """Shape and type of a stored array."""

    shape: list[int]
    """Its shape."""
    dtype: str
    """Its NumPy type."""


def to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Return the leaves of a pytree on the host, by their path in it.

    Args:
        tree: A pytree of arrays, numbers and JAX keys.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): _host(leaf) for path, leaf in leaves}


def from_arrays(template: _Tree, arrays: Mapping[str, np.ndarray], source: str) -> _Tree:
    """Return a pytree like ``template`` with the stored leaves.

    Args:
        template: A pytree of the same structure.
        arrays: Leaves by path.
        source: Where they come from, for errors.

    Raises:
        CheckpointError: If names, shapes or types differ.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    wanted, found = specs({name: _host(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}), specs(arrays)
    problems = []
    for name in sorted(set(names) ^ set(arrays)):
        problems.append(f"{name} {'is missing there' if name in wanted else 'has no place in the model'}")
    for name in names:
        if name in found and wanted[name] != found[name]:
            mine, theirs = wanted[name], found[name]
            problems.append(
                f"{name} is {theirs['dtype']}{theirs['shape']}, the model has {mine['dtype']}{mine['shape']}"
            )
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(f"{source} does not fit the model: {'; '.join(problems[:_SHOWN])}{more}")
    return jax.tree.unflatten(
        structure, [_device(leaf, arrays[name]) for name, (_, leaf) in zip(names, leaves, strict=True)]
    )


def specs(arrays: Mapping[str, np.ndarray]) -> dict[str, ArraySpec]:
    """Return shape and type of each array."""
    return {name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in arrays.items()}


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return a hash of names, shapes, types and every bit of the values."""
    result = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        result.update(f"{name} {array.dtype} {array.shape};".encode())
        result.update(array.reshape(-1).view(np.uint8).data)
    return result.hexdigest()


@jax.jit
def own_buffers(tree: _Tree) -> _Tree:
    """Return a copy of a pytree in fresh, strongly typed device arrays, which may be donated, by one program."""

    def copied(leaf: Any) -> jax.Array:
        return jnp.copy(leaf) if _is_key(leaf) else jnp.array(leaf, dtype=jnp.result_type(leaf), copy=True)

    return jax.tree.map(copied, tree)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _host(leaf: Any) -> np.ndarray:
    if _is_key(leaf):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf if isinstance(leaf, np.ndarray) else jnp.asarray(leaf))


def _device(like: Any, array: np.ndarray) -> jax.Array:
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    return jnp.asarray(array)
