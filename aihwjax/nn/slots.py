"""Slots: how the inputs x and output gradients d of each tile leave the gradient.

A pulsed update needs x and d themselves, not their product. While a gradient is taken, each
call of a tile receives a *slot*: zeros of the shapes of x and d that do not change the result.
The backward rule of the analog product returns x and d as the cotangents of the slot, so that
``jax.grad`` with respect to the slots yields them.

The slots are found by tracing the loss twice: a first, abstract trace notes the shapes in call
order; the second, under ``jax.value_and_grad``, answers the same calls with slots.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching
from jaxtyping import Array, Float

from aihwjax.derivatives import on_gradient
from aihwjax.errors import ModuleError
from aihwjax.nn.patches import Patches
from aihwjax.typing import EachWeights, Shape


class Slot(NamedTuple):
    """What one call of a tile hands to the update (arrays; their shapes during the first trace)."""

    x: Float[Array, "*batch in"] | Patches
    """Inputs as they came in, ``(..., in)``; those of a convolution are images still."""
    d: Float[Array, "*batch out"]
    """Gradient of the loss with respect to the output, ``(..., out)``."""
    read: Float[Array, "*batch out"] | None = None
    """Vectors of the backward product ``(..., out)``; only where its noise management averages over them."""
    slope: Float[Array, "*stack out in"] | None = None
    """Gradient of the weights ``(out, in)``; only of tiles whose product is differentiated, converters and noise
    included."""


Slots: TypeAlias = dict[str, list[Slot]]
"""Path of a tile to one slot for each of its calls, in call order."""

_tokens = itertools.count()
_local = threading.local()


Tag: TypeAlias = tuple[int, str]
"""Mark of a tile in one trace of the loss: the trace and the tile's path."""


class Recorder:
    """One trace of a loss: notes the calls of tiles, or answers them with slots.

    Args:
        answers: Slots to hand out; ``None`` to note shapes instead.
        token: The trace that tiles were marked for, for one step of a loop in it; ``None`` for a new trace.
    """

    def __init__(self, answers: Slots | None = None, *, token: int | None = None) -> None:
        self.answers = answers
        self.in_loop = token is not None
        self.token = next(_tokens) if token is None else token
        self.noted: Slots = {}
        self.witness: jax.Array | None = next(iter(jax.tree.leaves(answers)), None)
        """Something that is being differentiated, if anything is."""

    def slot(self, path: str, shapes: Slot, witnesses: Sequence[jax.Array]) -> Slot:
        """Return the slot of the next call of the tile at ``path``.

        Args:
            path: The tile.
            shapes: Shapes of the slot.
            witnesses: Arrays that would be batched if the call were under ``vmap``.

        Raises:
            ModuleError: If this trace makes calls that the first did not.
        """
        if self.answers is None:
            _mark.bind(*(jax.lax.stop_gradient(a) for a in witnesses), path=path)
            self.noted.setdefault(path, []).append(shapes)
            return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        waiting = self.answers.get(path)
        if not waiting:
            raise ModuleError(f"{path} was called more often in the second trace of the loss than in the first")
        return waiting.pop(0)


def take(
    tag: Tag | None,
    x: Float[Array, "*batch in"] | Patches,
    outputs: Shape,
    averaged: bool,
    weights: Shape | None = None,
) -> Slot | None:
    """Return the slot of a call of a tile, or ``None`` outside a gradient.

    Args:
        tag: Mark of the tile.
        x: Its inputs ``(..., in)``, or images.
        outputs: Shape of its outputs ``(..., out)``.
        averaged: Whether the vectors of the backward product are wanted.
        weights: Shape of the weights, if their gradient is wanted.

    Raises:
        ModuleError: If the tile belongs to the model of another gradient.
    """
    recorder = current()
    if recorder is None or tag is None:
        return None
    token, path = tag
    if token != recorder.token:
        raise ModuleError(f"{path} belongs to the model of another gradient: give the model to the loss as argument")
    d: Any = jax.ShapeDtypeStruct(outputs, jnp.float32)
    like: Any = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, jnp.float32), x)
    slope: Any = None if weights is None else jax.ShapeDtypeStruct(weights, jnp.float32)
    return recorder.slot(path, Slot(like, d, d if averaged else None, slope), jax.tree.leaves(x))


def training(tag: Tag | None) -> bool:
    """Return whether a tile is called inside a gradient, where its calls have slots.

    Args:
        tag: Mark of the tile.
    """
    recorder = current()
    return recorder is not None and tag is not None and tag[0] == recorder.token


def watched(tag: Tag | None, weights: EachWeights) -> EachWeights:
    """Return weights that were read; a gradient that comes back to them is told that it ends there.

    Args:
        tag: Mark of the tile.
        weights: Its weights ``(out, in)``.
    """
    recorder = current()
    if recorder is None or tag is None or tag[0] != recorder.token or recorder.witness is None:
        return weights
    text = (
        f"{tag[1]}: the loss depends on weights that were read from this tile, and its gradient leaves that out, "
        "because a tile learns from x and d: change weights after the step (set_weights, aihwjax.tile.decay), "
        "or let the device decay; on inference tiles differentiate nnx.Any(nnx.Param, aihwjax.nn.TileVariable)"
    )
    return on_gradient(partial(warnings.warn, text, UserWarning, 2), weights, recorder.witness)


def current() -> Recorder | None:
    """Return the recorder of the innermost gradient that is being taken, if any."""
    stack: list[Recorder] = getattr(_local, "stack", [])
    return stack[-1] if stack else None


@contextmanager
def active(recorder: Recorder) -> Iterator[Recorder]:
    """Let ``recorder`` receive the calls of tiles."""
    if not hasattr(_local, "stack"):
        _local.stack = []
    _local.stack.append(recorder)
    try:
        yield recorder
    finally:
        _local.stack.pop()


def probe(function: Callable[..., Any], *args: Any, token: int | None = None) -> Slots:
    """Trace ``function(recorder, *args)`` abstractly and return the shapes of the slots it needs.

    Args:
        function: What to trace; it activates the recorder.
        *args: Its further arguments.
        token: As for :class:`Recorder`.

    Raises:
        ModuleError: If a tile is called under ``vmap`` or inside a loop, where one slot would have
            to serve several calls.
    """
    recorder = Recorder(token=token)
    # a fresh function each time: a cached trace would record nothing
    jaxpr = jax.make_jaxpr(lambda *values: function(recorder, *values))(*args)
    _refuse_loops(jaxpr.jaxpr)
    return recorder.noted


def zeros(shapes: Slots) -> Slots:
    """Return slots of zeros."""
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)


def copied(slots: Slots) -> Slots:
    """Return slots whose lists can be emptied without changing the given ones."""
    return {path: list(calls) for path, calls in slots.items()}


def check_all_taken(answers: Slots) -> None:
    """Refuse slots that were left over.

    Raises:
        ModuleError: If the second trace made fewer calls than the first.
    """
    for path, waiting in answers.items():
        if waiting:
            raise ModuleError(f"{path} was called less often in the second trace of the loss than in the first")


# A marker in the abstract trace: shows a call of a tile to batching rules and to a walk over the program.
_mark = Primitive("analog_tile_call")
_mark.multiple_results = True


@_mark.def_abstract_eval
def _mark_shape(*witnesses: Any, path: str) -> list[Any]:
    return []


def _refuse_batching(args: Any, dims: Any, *, path: str) -> Any:
    raise ModuleError(
        f"{path} is called under vmap inside the loss, which would add up x and d of different examples: "
        "call it with a batch of inputs instead"
    )


batching.primitive_batchers[_mark] = _refuse_batching


def _refuse_loops(jaxpr: Any, loop: str = "") -> None:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if equation.primitive is _mark and loop:
            raise ModuleError(
                f"{equation.params['path']} is called inside a {loop} loop, where it has no slot of its own for "
                "each step: use aihwjax.nn.scan instead of lax.scan"
            )
        inner = name if name in ("scan", "while") else loop
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                body = getattr(part, "jaxpr", part)
                if hasattr(body, "eqns"):
                    _refuse_loops(body, inner)
