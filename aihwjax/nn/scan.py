"""Loops over time whose tiles keep one slot for each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from aihwjax import arguments
from aihwjax.nn import slots, watching
from aihwjax.nn.call_keys import numbered, running
from aihwjax.nn.slots import Recorder, Slots

_Carry = TypeVar("_Carry")
_X = TypeVar("_X")
_Y = TypeVar("_Y")


@arguments.answered
def scan(
    body: Callable[[_Carry, _X], tuple[_Carry, _Y]], init: _Carry, xs: _X, length: int | None = None
) -> tuple[_Carry, _Y]:
    """Loop like ``jax.lax.scan``, with analog layers in the body.

    Inside a gradient every call of a tile needs a slot of its own for each step; here the slots of
    all steps are scanned over together with ``xs``. At the update the calls of all steps act as one
    batch, first step first. Outside a gradient this is ``lax.scan``.

    Args:
        body: ``(carry, x) -> (carry, y)``; layers inside it need a key of their own for each step,
            for instance from ``xs``. Inside :func:`aihwjax.nn.call` they have one without being given it.
        init: First carry.
        xs: What to loop over; its leaves have the steps as first axis.
        length: Number of steps, if ``xs`` has no leaves.

    Returns:
        The last carry and the stacked outputs.
    """
    if running():
        steps = length if length is not None else jnp.shape(jax.tree.leaves(xs)[0])[0]
        step, after = numbered(body)
        result = _scan(step, init, (jnp.arange(steps), xs), steps)
        after()
        return result
    return _scan(body, init, xs, length)


def _scan(
    body: Callable[[_Carry, _X], tuple[_Carry, _Y]], init: _Carry, xs: _X, length: int | None
) -> tuple[_Carry, _Y]:
    outer = slots.current()
    if outer is None:
        return watching.scan(body, init, xs, length)

    first = jax.tree.map(lambda x: x[0], xs)

    touched: dict[int, tuple[nnx.Variable[Any], Any]] = {}

    def observed(recorder: Recorder, carry: _Carry, x: _X) -> tuple[_Carry, _Y]:
        with slots.active(recorder), watching.step(touched):
            return body(carry, x)

    each = slots.probe(observed, init, first, token=outer.token)
    steps = length if length is not None else jnp.shape(jax.tree.leaves(xs)[0])[0]
    whole = jax.tree.map(lambda a: jax.ShapeDtypeStruct((steps, *a.shape), a.dtype), each)
    arrays = jax.tree.leaves((init, xs))
    given: Slots = {path: [outer.slot(path, call, arrays) for call in calls] for path, calls in whole.items()}

    def step(carry: _Carry, inputs: tuple[_X, Slots]) -> tuple[_Carry, _Y]:
        x, own = inputs
        with slots.active(Recorder(slots.copied(own), token=outer.token)):
            return body(carry, x)

    if touched:
        return watching.carried(touched, step, init, (xs, given), steps)
    return lax.scan(step, init, (xs, given), steps)
