"""Derivatives other than those of what is computed, and words where one is not what it seems."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_T = TypeVar("_T")


def on_derivative(values: _T, watched: Any, act: Callable[[], None], *, unless: Any = None) -> _T:
    """Return ``values``; ``act`` is called while a derivative is traced that moves what is watched.

    Costs nothing in a compiled program. Arrays that are not traced can't move.

    Args:
        values: A pytree that goes on as it is, with its derivatives.
        watched: A pytree. Of it only traced floating-point arrays can move.
        act: Called without arguments; may raise.
        unless: Nothing is called if one of these moves as well.
    """
    seen, excused = _traced(watched), _traced(unless)
    if not seen:
        return values
    leaves, tree = jax.tree.flatten(values)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]

    @jax.custom_jvp
    def same(through: list[Any], seen: list[Any], excused: list[Any]) -> list[Any]:
        return through

    def rule(primals: Any, tangents: Any) -> Any:
        if _moves(tangents[1]) and not _moves(tangents[2]):
            act()
        return same(*primals), tangents[0]

    same.defjvp(rule, symbolic_zeros=True)
    for place, leaf in zip(places, same([leaves[i] for i in places], seen, excused), strict=True):
        leaves[place] = leaf
    return jax.tree.unflatten(tree, leaves)


def with_further_derivative(
    y: jax.Array, function: Callable[[Any, Any], jax.Array], moving: _T, fixed: Any
) -> jax.Array:
    """Return ``y`` with its derivative and that of ``function(moving, fixed)`` with respect to ``moving``.

    Costs nothing in a compiled program where no such derivative is taken.

    Args:
        y: An array of floating-point numbers.
        function: What has the derivative, of the shape of ``y``.
        moving: A pytree. Of it only traced floating-point arrays can move.
        fixed: A pytree of what else the function needs.
    """
    seen = _traced(moving)
    if not seen:
        return y
    leaves, tree = jax.tree.flatten((moving, fixed))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)]
    seen_places = [i for i in places if any(leaves[i] is leaf for leaf in seen)]
    other_places = [i for i in places if i not in seen_places]

    @jax.custom_jvp
    def same(y: jax.Array, seen: list[Any], others: list[Any]) -> jax.Array:
        return y

    def rule(primals: Any, tangents: Any) -> Any:
        _, seen, others = primals
        moved = [i for i, tangent in enumerate(tangents[1]) if not isinstance(tangent, SymbolicZero)]

        def of(*values: jax.Array) -> jax.Array:
            whole = list(leaves)
            now = list(seen)
            for i, value in zip(moved, values, strict=True):
                now[i] = value
            for place, value in zip(seen_places + other_places, now + list(others), strict=True):
                whole[place] = value
            return function(*jax.tree.unflatten(tree, whole))

        derivative = tangents[0]
        if moved:
            further = jax.jvp(of, [seen[i] for i in moved], [tangents[1][i] for i in moved])[1]
            derivative = further if isinstance(derivative, SymbolicZero) else derivative + further
        return same(*primals), derivative

    same.defjvp(rule, symbolic_zeros=True)
    return same(y, [leaves[i] for i in seen_places], [leaves[i] for i in other_places])


def only_in_reverse(values: _T, refuse: Callable[[], NoReturn]) -> _T:
    """Return ``values``; a derivative of theirs in forward mode is refused, one in reverse mode goes through.

    Costs nothing in a compiled program, and nothing where nothing is traced.

    Args:
        values: A pytree. Of it only traced floating-point arrays can move.
        refuse: Raises an error; called in forward mode when the derivative is computed, at once, or when the
            program around it is compiled. The same function each time, or programs are traced again.
    """
    seen = _traced(values)
    if not seen:
        return values
    guarded = {id(leaf): own for leaf, own in zip(seen, _guarded(seen, refuse), strict=True)}
    return jax.tree.map(lambda leaf: guarded.get(id(leaf), leaf), values)


# of all at once, as each call is traced
@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _guarded(values: list[jax.Array], refuse: Callable[[], NoReturn]) -> list[jax.Array]:
    return values


def _guard(refuse: Callable[[], NoReturn], primals: Any, tangents: Any) -> tuple[list[jax.Array], list[Any]]:
    # the values without a guard of their own: forward over reverse is allowed, since it differentiates the rule
    moved = [t if isinstance(t, SymbolicZero) else _reverse_p.bind(t, refuse=refuse) for t in tangents[0]]
    return primals[0], moved


_guarded.defjvp(_guard, symbolic_zeros=True)


def _refuse(*_: Any, refuse: Callable[[], NoReturn]) -> NoReturn:
    refuse()


_reverse_p = Primitive("only_in_reverse")
"""The identity of a tangent. Transposing removes it, so in reverse mode it is never computed."""
_reverse_p.def_abstract_eval(lambda aval, *, refuse: aval)
_reverse_p.def_impl(_refuse)
mlir.register_lowering(_reverse_p, _refuse)
batching.defvectorized(_reverse_p)
ad.deflinear2(_reverse_p, lambda cotangent, _, *, refuse: [cotangent])


def _traced(values: Any) -> list[Any]:
    return [
        leaf
        for leaf in jax.tree.leaves(values)
        if isinstance(leaf, jax.core.Tracer) and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]


def _moves(tangents: list[Any]) -> bool:
    return any(not isinstance(tangent, SymbolicZero) for tangent in tangents)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def on_gradient(act: Callable[[], None], value: jax.Array, witness: jax.Array) -> jax.Array:
    """Return ``value``; ``act`` is called while a gradient is traced that comes back to it.

    Args:
        act: Called without arguments; may raise.
        value: An array, a constant for the gradient.
        witness: An array that is being differentiated. It gets nothing.
    """
    return value


def _on_gradient(act: Callable[[], None], value: jax.Array, witness: jax.Array) -> tuple[jax.Array, jax.Array]:
    return value, witness


def _came_back(act: Callable[[], None], witness: jax.Array, d: jax.Array) -> tuple[jax.Array, jax.Array]:
    act()
    return d, jnp.zeros_like(witness)


on_gradient.defvjp(_on_gradient, _came_back)


@jax.custom_jvp
def passed_through(values: jax.Array, rounded: jax.Array) -> jax.Array:
    """Return ``rounded`` with the derivative of ``values``, both of one shape."""
    return rounded


@passed_through.defjvp
def _passed_through(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return passed_through(*primals), tangents[0]


@jax.custom_jvp
def root(values: jax.Array) -> jax.Array:
    """Return the square root of values of at least 0, with the derivative 0 at 0: noise without a signal."""
    return jnp.sqrt(values)


@root.defjvp
def _root(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    value = root(primals[0])
    return value, jnp.where(value > 0, 0.5 / jnp.where(value > 0, value, 1), 0) * tangents[0]


@jax.custom_jvp
def largest(values: jax.Array) -> jax.Array:
    """Return the largest number of each row, with the derivative of the first that is the largest.

    JAX's own rule looks for entries that equal the maximum and divides by how many it finds: none where the compiler
    computes them twice and rounds otherwise.
    """
    return jnp.max(values, axis=1)


@largest.defjvp
def _largest(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    place = jnp.argmax(primals[0], axis=1)[:, None]
    return largest(*primals), jnp.take_along_axis(tangents[0], place, axis=1)[:, 0]
