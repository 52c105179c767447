"""Gradients of the analog product: its primal is the hardware's, its derivative that of the last reading.

A converter is a staircase, and bound management a loop that no gradient goes through. The rule (straight-through)::

    rounding                     slope 1
    k of bound management        the number that was found, a constant
    input scale α                differentiated, in a product without rounding and noise
    an input that the DAC clips  0
    a code that the ADC clipped  0, but for the derivatives of out_bound and out_scale
    noise                        the numbers that were drawn, times the derivative of their spread

So the derivative is that of the vector's last reading with the noise of that reading. It is linear, hence forward
and reverse mode, at any order. A vector of zeros, which is not converted, has the derivative of the array alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from aihwjax.loops import repeat_while
from aihwjax.random import Draws, Stream
from aihwjax.typing import Shape

_Operands = TypeVar("_Operands")


class Reading(NamedTuple):
    """Which reading of each vector counted, and what the ADC clipped in it."""

    number: jax.Array | None
    """Number of the reading ``(n, 1)``, 0 for the first; ``None`` without bound management."""
    factor: jax.Array | None
    """The divisor k of its input ``(n, 1)``; ``None`` without bound management."""
    outside: tuple[jax.Array, ...]
    """Which codes of each conversion were clipped, ``(n, out)`` each."""


class Replayed(NamedTuple):
    """The noise of the reading that counted, vector by vector.

    It has what a product asks of a :class:`~aihwjax.random.Stream`.
    """

    of_reading: Callable[[jax.Array | int], Stream]
    """The stream of a reading."""
    number: jax.Array | None
    """Number of the reading that counted ``(n, 1)``; ``None``: the first."""
    silent: jax.Array | None
    """Vectors that are not converted and have no noise ``(n, 1)``; ``None``: none."""

    def child(self, name: str) -> Replayed:
        """Return the unrelated source called ``name``."""
        return self._replace(of_reading=lambda number: self.of_reading(number).child(name))

    def normal(self, shape: Shape) -> jax.Array:
        """Standard normals ``(n, ...)``, zero for silent vectors."""
        return self._drawn(lambda source: source.normal(shape))

    def uniform(self, shape: Shape) -> jax.Array:
        """Uniforms in [0, 1) ``(n, ...)``; one half, which rounds to nearest, for silent vectors."""
        return self._drawn(lambda source: source.uniform(shape) - 0.5) + 0.5

    def _drawn(self, draw: Callable[[Stream], jax.Array]) -> jax.Array:
        drawn, number = draw(self.of_reading(0)), self.number
        if number is not None:

            def later(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
                index, values = carry
                return index + 1, jnp.where(number == index, draw(self.of_reading(index)), values)

            drawn = jnp.where(number >= 0, drawn, 0.0)  # varies between devices as the number does
            drawn = repeat_while(lambda carry: carry[0] <= jnp.max(number), later, (jnp.int32(1), drawn))[1]
        return drawn if self.silent is None else jnp.where(self.silent, 0.0, drawn)


def replayed(source: Stream, reading: Reading, silent: jax.Array | None) -> Draws:
    """Return the noise of the reading of each vector that counted.

    Args:
        source: Noise of the product; reading r > 0 has its child r.
        reading: Which reading counted.
        silent: Vectors that are not converted ``(n, 1)``.
    """

    def of_reading(number: jax.Array | int) -> Stream:
        return source if isinstance(number, int) and number == 0 else source.child(number)

    return Replayed(of_reading, reading.number, silent)


def with_derivative(
    product: Callable[[_Operands, bool], tuple[jax.Array, jax.Array | None, Reading | None]],
    reading: Callable[[_Operands, Reading], jax.Array],
    operands: _Operands,
) -> tuple[jax.Array, jax.Array | None]:
    """Return outputs and mask of a product; the derivative of the outputs is that of ``reading``.

    Args:
        product: ``(operands, recorded) -> (outputs, mask, reading)``, the last ``None`` unless recorded.
        reading: ``(operands, reading) -> outputs``: the reading that counted, once more, differentiable.
        operands: A pytree. Python numbers in it stay what they are: no derivative, constants of the program.
    """
    leaves, tree = jax.tree.flatten(operands)
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)]

    def whole(arrays: Any) -> _Operands:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        return jax.tree.unflatten(tree, filled)

    @partial(jax.custom_jvp, nondiff_argnums=(0,))
    def outputs(recorded: bool, *arrays: jax.Array) -> tuple[jax.Array, jax.Array | None, Reading | None]:
        return product(whole(arrays), recorded)

    def rule(recorded: bool, primals: Any, tangents: Any) -> Any:
        y, mask, counted = outputs(True, *primals)
        assert counted is not None
        moving = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, SymbolicZero)]

        def last(*moved: jax.Array) -> jax.Array:
            arrays = list(primals)
            for i, array in zip(moving, moved, strict=True):
                arrays[i] = array
            return reading(whole(arrays), counted)

        _, derivative = jax.jvp(last, [primals[i] for i in moving], [tangents[i] for i in moving])
        result = (y, mask, counted if recorded else None)
        return result, (derivative, *jax.tree.map(_none, result[1:]))

    outputs.defjvp(rule, symbolic_zeros=True)
    y, mask, _ = outputs(False, *(leaves[place] for place in places))
    return y, mask


def _none(value: jax.Array) -> jax.Array | np.ndarray:
    """Return the derivative of what has none."""
    if jnp.issubdtype(value.dtype, jnp.floating):
        return jnp.zeros_like(value)
    return np.zeros(value.shape, jax.dtypes.float0)
