"""A mark in a program for each product of an analog layer, from which a summary counts them.

A mark changes nothing, and there are none but in a copy of a model whose layers know their place. Loops, conditions
and ``vmap`` around a layer are then counted as the program has them, and so is what derivatives compute again.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching
from jaxtyping import Array, Float

mark = Primitive("analog_layer_product")
"""Returns its first operand; ``place`` is the path of the layer, ``vectors`` how many it multiplies."""


def marked(place: str, vectors: int, x: Float[Array, "*batch in"], others: Any) -> Float[Array, "*batch in"]:
    """Return the inputs of a product with a mark.

    Args:
        place: Path of the layer.
        vectors: Number of vectors that it multiplies.
        x: Its inputs.
        others: A pytree of what else it depends on: under ``vmap`` over any of it, there are as many products.
    """
    arrays = [leaf for leaf in jax.tree.leaves(others) if isinstance(leaf, jax.Array)]
    return mark.bind(x, *arrays, place=place, vectors=vectors)


@mark.def_abstract_eval
def _same(x: Any, *others: Any, place: str, vectors: int) -> Any:
    return x


def _batched(arrays: Any, axes: Any, *, place: str, vectors: int) -> tuple[Any, Any]:
    (size,) = {array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if isinstance(axis, int)}
    return mark.bind(*arrays, place=place, vectors=size * vectors), axes[0]


def _differentiated(primals: Any, tangents: Any, **parameters: Any) -> tuple[Any, Any]:
    return mark.bind(*primals, **parameters), tangents[0]


batching.primitive_batchers[mark] = _batched
ad.primitive_jvps[mark] = _differentiated
