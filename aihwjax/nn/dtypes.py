"""The type of what a layer returns: tiles compute in float32, a model may want less."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from aihwjax.errors import ConfigError

NAMES = ("float32", "bfloat16", "float16")
"""Types that a layer can return."""


def name_of(argument: str, dtype: Any) -> str:
    """Return the name of a type that a layer can return.

    Args:
        argument: Name of the argument, for the error.
        dtype: A name, or a type of NumPy or JAX.

    Raises:
        ConfigError: If it is none of these.
    """
    try:
        name = jnp.dtype(dtype).name
    except TypeError:
        name = ""
    if dtype is None or name not in NAMES:
        raise ConfigError(f"{argument}={dtype!r} is not allowed: give {', '.join(NAMES)}")
    return name


def returned(y: Float[Array, "*shape"], inputs: Any, dtype: str | None, param_dtype: str) -> Float[Array, "*shape"]:
    """Return outputs in the type that a layer of Flax would have them, but never in more than float32.

    Args:
        y: Outputs, float32.
        inputs: Its inputs as they came in.
        dtype: Type of the outputs; ``None``: that of inputs and weights together.
        param_dtype: Type of the weights.
    """
    if dtype is None and param_dtype == "float32":
        return y
    kind = jnp.dtype(dtype or jnp.promote_types(getattr(inputs, "dtype", jnp.float32), param_dtype))
    return y.astype(kind) if kind.name in NAMES[1:] else y
