"""Single precision inside, whatever JAX's default is.

With ``jax_enable_x64`` numbers without a type become double, and what is in single precision no longer fits it in loops
and conditionals. The physics is in single precision (and its random words have 32 bits), so that a tile computes
as without the option: the same numbers for the same key.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

_P = ParamSpec("_P")
_R = TypeVar("_R")
_NARROW = {"float64": jnp.float32, "int64": jnp.int32, "uint64": jnp.uint32}


def in_single(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function that computes in single precision, also with ``jax_enable_x64``.

    Arrays in double precision that it is given are rounded; results are float32, int32 and uint32.
    """

    @functools.wraps(function)
    def computed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if jax.dtypes.canonicalize_dtype(jnp.float64) != jnp.float64:
            return function(*args, **kwargs)
        narrow_args, narrow_kwargs = jax.tree.map(_narrow, (args, kwargs))
        with jax.enable_x64(False):
            return function(*narrow_args, **narrow_kwargs)

    return computed


def _narrow(leaf: Any) -> Any:
    """Round an array; Python and NumPy numbers become 32-bit by themselves."""
    if not isinstance(leaf, jax.Array):
        return leaf
    kind = _NARROW.get(str(leaf.dtype))
    return leaf if kind is None else leaf.astype(kind)
