"""Loops that a compiler can't miscount, and conditionals that leave large arrays where they are.

XLA up to the version of JAX 0.10 takes a loop that counts in strides towards a limit that it knows for one
of ``limit // stride`` rounds, and drops it where that is 0: ``while i < 1: i += 2`` is not run at all. The
loops here carry whether they go on, so that nothing about their number of rounds can be concluded. Loops
elsewhere in the library are ``scan`` and ``fori_loop``, which count by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

_T = TypeVar("_T")


def repeat_while(goes_on: Callable[[_T], jax.Array], body: Callable[[_T], _T], values: _T) -> _T:
    """Return the values after as many rounds of ``body`` as ``goes_on`` of them is true.

    Args:
        goes_on: Whether there is another round, a bool.
        body: One round.
        values: A pytree of arrays.
    """

    def one_round(carry: tuple[jax.Array, _T]) -> tuple[jax.Array, _T]:
        after = body(carry[1])
        return goes_on(after), after

    return lax.while_loop(lambda carry: carry[0], one_round, (goes_on(values), values))[1]


def in_strides(limit: jax.Array, stride: int, body: Callable[[jax.Array, _T], _T], values: _T) -> _T:
    """Return the values after ``body(at, values)`` for ``at`` = 0, ``stride``, 2 ``stride`` … below ``limit``.

    Args:
        limit: Where it ends, int32.
        stride: Distance between two rounds.
        body: One round; gets where it is.
        values: A pytree of arrays.
    """

    def one(carry: tuple[jax.Array, _T]) -> tuple[jax.Array, _T]:
        at, now = carry
        return at + stride, body(at, now)

    return repeat_while(lambda carry: carry[0] < limit, one, (jnp.zeros((), jnp.int32), values))[1]


def once(due: jax.Array, body: Callable[[jax.Array, _T], _T], values: _T) -> _T:
    """Return ``body(due, values)`` if due, else ``values``, in place: a loop of at most one round.

    A conditional would copy its values on a CPU. What enters a loop is also made before it and what leaves it is
    used after it: a part of an array that is cut out before is not cut out again for each use in the body.

    Args:
        due: Whether to run, a bool.
        body: The change; gets ``due`` as the loop carries it.
        values: A pytree of arrays.
    """

    def one_round(carry: tuple[jax.Array, _T]) -> tuple[jax.Array, _T]:
        on, now = carry
        return jnp.zeros_like(on), body(on, now)

    return lax.while_loop(lambda carry: carry[0], one_round, (due, values))[1]


def apart(make: Callable[..., _T], *operands: Any) -> _T:
    """Return ``make(*operands)``; on a CPU its arrays are made before anything uses them.

    XLA's compiler for CPUs moves what is costly to make into each of its uses, and into loops in the order of the use:
    where a product wants the transposed matrix, every number of it is made alone, at up to twenty times the time. A
    conditional is where it stops. Derivatives go through in both modes.

    Args:
        make: Makes the arrays, a pytree.
        operands: Pytrees of arrays.
    """
    made = jax.jit(make)  # traced once for all of the following

    def kept(*operands: Any) -> _T:
        like = jax.eval_shape(made, *operands)
        due = lax.optimization_barrier(jnp.ones((), bool))  # else the compiler takes the conditional away

        def never(*_: Any) -> Any:
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)

        return lax.cond(due, made, never, *operands)

    return lax.platform_dependent(*operands, cpu=kept, default=made)
