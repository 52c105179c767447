"""About how long a program takes, before it is compiled: its operations, at the speed of this machine."""

from __future__ import annotations

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params

_MOVES = frozenset({
    "broadcast_in_dim", "convert_element_type", "copy", "iota", "reshape", "slice", "squeeze", "split", "stop_gradient",
    "transpose", "random_wrap", "random_unwrap",
})  # fmt: skip
"""What a compiler does on the way."""
_HASHED = {"threefry2x32": 60, "random_bits": 60, "random_fold_in": 60, "random_seed": 60}
"""Operations for one word of noise."""
_SIZE, _WIDTH, _TRIES = 1 << 16, 128, 3


def work(program: Jaxpr) -> tuple[float, float]:
    """Return the operations of a program on single numbers, and those of its matrix products.

    Loops count as often as they turn, as far as that is known; of the branches of a condition the longest counts.

    Args:
        program: The program.
    """
    single = products = 0.0
    for equation in program.eqns:
        name, size = equation.primitive.name, sum(_size(var) for var in equation.outvars)
        inner = [work(each) for each in jaxprs_in_params(equation.params)]
        if inner:
            turns = equation.params.get("length", 1)
            parts = [max(inner)] if name == "cond" else inner
            single += turns * sum(each[0] for each in parts)
            products += turns * sum(each[1] for each in parts)
        elif name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = _shape(equation.invars[0])
            products += 2.0 * size * float(np.prod([shape[axis] for axis in contracted]))
        elif name == "conv_general_dilated":
            kernel = _shape(equation.invars[1])
            products += 2.0 * size * float(np.prod(kernel)) / kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        elif name not in _MOVES:
            read = max((_size(var) for var in equation.invars), default=0) if name.startswith("reduce") else 0
            single += max(size, read) * _HASHED.get(name, 1)
    return single, products


def seconds(program: Jaxpr) -> float:
    """Return about how long a program takes on the first device; within a few times.

    Args:
        program: The program.
    """
    single, products = work(program)
    each, product = _speed()
    return single * each + products * product


@functools.cache
def _speed() -> tuple[float, float]:
    """Return the seconds of an operation on one number, and of one in a matrix product, by a moment's measurement."""
    numbers = jnp.linspace(0.0, 1.0, _SIZE)
    matrix = jnp.ones((_WIDTH, _WIDTH))
    steps = 32

    def passes(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, steps, lambda _, y: y * 0.5 + jnp.abs(y - 0.25), x)

    def product(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, steps, lambda _, y: y @ x * (1 / _WIDTH), x)

    return (
        _timed(jax.jit(passes), numbers) / (4 * steps * _SIZE),
        _timed(jax.jit(product), matrix) / (2 * steps * _WIDTH**3),
    )


def _timed(function: Any, argument: jax.Array) -> float:
    jax.block_until_ready(function(argument))
    best = float("inf")
    for _ in range(_TRIES):
        start = time.perf_counter()
        jax.block_until_ready(function(argument))
        best = min(best, time.perf_counter() - start)
    return best


def _shape(var: Any) -> tuple[int, ...]:
    return tuple(getattr(var.aval, "shape", ()))


def _size(var: Any) -> int:
    return int(np.prod(_shape(var), dtype=np.int64))
