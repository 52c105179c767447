"""Functions that are linear to JAX, with a transpose of their own: what solvers ask of a matrix.

``jax.custom_derivatives.linear_call`` does the same but for ``vmap``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Linear: TypeAlias = Callable[[Any, jax.Array], jax.Array]
"""A function of parts, any pytree, and a vector in which it is linear."""

_linear = Primitive("analog_linear")


def linear(function: Linear, transpose: Linear, parts: Any, x: jax.Array) -> jax.Array:
    """Return ``function(parts, x)``, which is linear in ``x`` to derivatives.

    Args:
        function: What to compute; both functions are compared by identity, so give ones that live on.
        transpose: Its transpose, a function of the same parts and the other side's vector.
        parts: What else it depends on, a pytree of arrays and numbers without keys.
        x: The vector.
    """
    leaves, tree = jax.tree.flatten(parts)
    return _linear.bind(*map(jnp.asarray, leaves), x, tree=tree, function=function, transpose=transpose)


def _computed(*arguments: Any, tree: Any, function: Linear, transpose: Linear) -> Any:
    *leaves, x = arguments
    return function(jax.tree.unflatten(tree, leaves), x)


_compiled = jax.jit(_computed, static_argnames=("tree", "function", "transpose"))


@_linear.def_impl
def _run(*arguments: Any, **fixed: Any) -> Any:
    return _compiled(*arguments, **fixed)


@_linear.def_abstract_eval
def _shape(*arguments: Any, **fixed: Any) -> Any:
    shaped = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arguments]
    result = jax.eval_shape(lambda *values: _computed(*values, **fixed), *shaped)
    return jax.core.ShapedArray(result.shape, result.dtype)


def _batched(arguments: Any, dims: Any, **fixed: Any) -> tuple[Any, int]:
    return jax.vmap(lambda *values: _computed(*values, **fixed), in_axes=tuple(dims))(*arguments), 0


def _jvp(primals: Any, tangents: Any, **fixed: Any) -> tuple[Any, Any]:
    *leaves, _ = primals
    if all(isinstance(tangent, ad.Zero) for tangent in tangents[:-1]):
        y = _linear.bind(*primals, **fixed)
        if isinstance(tangents[-1], ad.Zero):
            return y, jnp.zeros_like(y)
        return y, _linear.bind(*leaves, tangents[-1], **fixed)
    full = [ad.instantiate_zeros(tangent) for tangent in tangents]
    return jax.jvp(lambda *values: _computed(*values, **fixed), tuple(primals), tuple(full))


def _transposed(ct: Any, *arguments: Any, tree: Any, function: Linear, transpose: Linear) -> list[Any]:
    *leaves, _ = arguments
    if isinstance(ct, ad.Zero):
        return [None] * len(arguments)
    back = _linear.bind(*leaves, ct, tree=tree, function=transpose, transpose=function)
    return [*([None] * len(leaves)), back]


batching.primitive_batchers[_linear] = _batched
ad.primitive_jvps[_linear] = _jvp
ad.primitive_transposes[_linear] = _transposed
mlir.register_lowering(_linear, mlir.lower_fun(_computed, multiple_results=False))
