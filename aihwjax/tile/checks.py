"""Checks of array values at the boundary, before anything is traced."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from aihwjax import arguments, showing
from aihwjax.config import LARGEST
from aihwjax.errors import ConfigError, DataError, NonFiniteError
from aihwjax.typing import Number


@arguments.answered
def as_numbers(name: str, array: object) -> jax.Array:
    """Return an array of real numbers as it is and a list of them as an array; refuse anything else.

    Args:
        name: What the message calls the array.
        array: Anything; a traced array is judged by its type.

    Raises:
        DataError: If it is text, complex, ``None``, ragged or another object.
    """
    try:
        result = array if isinstance(array, jax.Array | np.ndarray) else np.asarray(array)
        kind = np.dtype(result.dtype)
    except (ValueError, TypeError):  # rows of different lengths, a JAX key
        kind = np.dtype(object)
    if kind == np.bool_ or jnp.issubdtype(kind, jnp.integer) or jnp.issubdtype(kind, jnp.floating):
        return result  # type: ignore[return-value]
    what = f"a value of type {type(array).__name__}" if kind.hasobject else f"type {kind}"
    raise DataError(f"{name} has {what}, which is not allowed: give an array of real numbers")


@arguments.answered
def require_finite(name: str, array: jax.Array | np.ndarray) -> None:
    """Refuse NaN and infinity in an array that has values; a traced one passes.

    Args:
        name: What the message calls the array.
        array: Any array of numbers.

    Raises:
        NonFiniteError: If a value is NaN or infinite.
    """
    if isinstance(array, jax.core.Tracer):
        return
    # NumPy, because a JAX operation on a constant inside a traced function would be traced too
    finite = np.isfinite(np.asarray(array))
    if not finite.all():
        wrong = finite.size - int(finite.sum())
        raise NonFiniteError(f"{name} has {wrong} NaN or infinite of {finite.size} values: give finite numbers")


def one_number(name: str, value: object) -> Number:
    """Return an argument that has to be one real number; an array of one element becomes its element.

    Args:
        name: What the message calls it.
        value: A number, an array of one element, or a traced value of that size.

    Raises:
        ConfigError: If it is anything else, or NaN.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return value
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        real = jnp.issubdtype(value.dtype, jnp.integer) or jnp.issubdtype(value.dtype, jnp.floating)
        if real and value.size == 1:
            number: Any = value if value.shape == () else value.reshape(())
            if isinstance(value, jax.core.Tracer) or not np.isnan(np.asarray(value)).any():
                return number
    raise ConfigError(f"{name}={_short(value)} is not allowed: give one number")


def ascending_times(name: str, times: object) -> Float64[np.ndarray, " times"]:
    """Return times as an array of seconds, if there is one and they ascend.

    Args:
        name: What the message calls them.
        times: Seconds.

    Raises:
        DataError: If they are no array of real numbers.
        ConfigError: If there is none, or they do not ascend.
    """
    seconds = np.asarray(as_numbers(name, times), np.float64)
    if seconds.ndim != 1 or seconds.size == 0:
        raise ConfigError(f"{name} of shape {seconds.shape} is not allowed: give a list of seconds")
    for before, after in itertools.pairwise(seconds):
        if not after > before:
            raise ConfigError(f"{name} with {after:g} after {before:g} is not allowed: give them ascending")
    return seconds


def check_learning_rate(value: object, where: str = "") -> Number:
    """Return a learning rate as one number; a traced one is judged by its type and shape.

    Args:
        value: A number, an array of one element, or a traced value of that size.
        where: What the message says of its origin, such as ``" at step 3"``.

    Raises:
        ConfigError: If it is anything else, negative, not finite or too large.
    """
    try:
        number = one_number("learning_rate", value)
    except ConfigError:
        number = None
    if isinstance(number, jax.core.Tracer):
        return number
    if number is None or not 0 <= float(np.asarray(number)) <= LARGEST:
        raise ConfigError(
            f"learning_rate={_short(value)}{where} is not allowed: "
            f"give a finite number of at least 0 and at most {LARGEST:g}"
        )
    return number


def checked_count(name: str, value: object) -> int:
    """Return a whole number of at least 1.

    Args:
        name: What the message calls it.
        value: The number.

    Raises:
        ConfigError: If it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError(f"{name}={value!r} is not allowed: give a whole number of at least 1")
    return int(value)


def _short(value: object) -> str:
    if isinstance(value, np.generic | np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer):
        value = showing.plain(value) if np.ndim(value) == 0 else value
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
