"""Variables that calls of layers change, through every loop of a model: those of a calibration, and ranges.

They are ordinary NNX state, so that Flax's transformations carry them. A loop of JAX's own cannot: here it gets their
values with its carry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import jax
from flax import nnx
from flax.errors import TraceContextError
from jax import lax

from aihwjax.errors import ModuleError

_Carry = TypeVar("_Carry")
_X = TypeVar("_X")
_Y = TypeVar("_Y")

_Step: TypeAlias = dict[int, tuple[nnx.Variable[Any], Any]]
"""Variables by identity, with their values in one step of a loop."""

_local = threading.local()


def _steps() -> list[_Step]:
    if not hasattr(_local, "steps"):
        _local.steps = []
    return _local.steps


@contextmanager
def active() -> Iterator[None]:
    """Watch the calls of tiles; the loops around are not those of the model."""
    outer, on = _steps(), getattr(_local, "on", False)
    _local.steps, _local.on = [], True
    try:
        yield
    finally:
        _local.steps, _local.on = outer, on


def is_on() -> bool:
    """Return whether a calibration runs."""
    return getattr(_local, "on", False)


def present(variable: nnx.Variable[Any]) -> Any:
    """Return the present value of a variable, that of the step inside a loop.

    Args:
        variable: The variable.
    """
    for step in reversed(_steps()):
        if id(variable) in step:
            return step[id(variable)][1]
    return variable.get_value()


def keep(variable: nnx.Variable[Any], value: Any, why: str) -> None:
    """Change the present value of a variable.

    Args:
        variable: The variable.
        value: The new value.
        why: The error, if the call is inside a function that cannot carry the variable.

    Raises:
        ModuleError: If it is.
    """
    if _steps():
        _steps()[-1][id(variable)] = variable, value
        return
    try:
        variable.set_value(value)
    except TraceContextError:
        raise ModuleError(why) from None


@contextmanager
def step(changes: _Step) -> Iterator[None]:
    """Let calls change variables in one step of a loop only.

    Args:
        changes: Receives what they change.
    """
    _steps().append(changes)
    try:
        yield
    finally:
        _steps().pop()


def read(variable: nnx.Variable[Any], name: str) -> Any:
    """Return the present value of a variable of a calibration.

    Args:
        variable: The variable.
        name: Whose it is, for errors.

    Raises:
        ModuleError: If no calibration runs.
    """
    if not is_on():
        raise ModuleError(f"{name} is being calibrated: call the model that was given to aihwjax.calibrate")
    return present(variable)


def write(variable: nnx.Variable[Any], value: Any, name: str) -> None:
    """Change the present value of a variable of a calibration.

    Args:
        variable: The variable.
        value: The new value.
        name: Whose it is, for errors.

    Raises:
        ModuleError: If the call is inside a function that cannot carry the variable.
    """
    keep(
        variable,
        value,
        f"{name} is called inside a function that jax.jit, jax.vmap, lax.scan or the like traces, where a calibration "
        "does not see its inputs: use the transformation of nnx (nnx.scan, nnx.vmap) or aihwjax.nn.scan",
    )


def scan(
    body: Callable[[_Carry, _X], tuple[_Carry, _Y]], init: _Carry, xs: _X, length: int | None
) -> tuple[_Carry, _Y]:
    """Loop like ``jax.lax.scan``; what calls in the body change is carried from step to step.

    Args:
        body: ``(carry, x) -> (carry, y)``.
        init: First carry.
        xs: What to loop over.
        length: Number of steps, if ``xs`` has no leaves.
    """
    if not is_on():
        return lax.scan(body, init, xs, length)
    touched: _Step = {}

    def traced(carry: _Carry, x: _X) -> tuple[_Carry, _Y]:
        with step(touched):
            return body(carry, x)

    # a first trace, to know which variables the body changes
    jax.eval_shape(traced, init, jax.tree.map(lambda x: x[0], xs))
    return carried(touched, body, init, xs, length)


def carried(
    touched: _Step, body: Callable[[_Carry, _X], tuple[_Carry, _Y]], init: _Carry, xs: _X, length: int | None
) -> tuple[_Carry, _Y]:
    """Loop like ``jax.lax.scan``, and carry variables from step to step.

    Args:
        touched: The variables, as :func:`step` noted them in a trace of the body.
        body: ``(carry, x) -> (carry, y)``.
        init: First carry.
        xs: What to loop over.
        length: Number of steps, if ``xs`` has no leaves.
    """
    variables = [variable for variable, _ in touched.values()]

    def turn(carry: tuple[_Carry, list[Any]], x: _X) -> tuple[tuple[_Carry, list[Any]], _Y]:
        inner, values = carry
        now: _Step = {id(v): (v, value) for v, value in zip(variables, values, strict=True)}
        with step(now):
            inner, y = body(inner, x)
        return (inner, [now[id(v)][1] for v in variables]), y

    (last, ends), ys = lax.scan(turn, (init, [present(variable) for variable in variables]), xs, length)
    for variable, end in zip(variables, ends, strict=True):
        keep(variable, end, "a layer is called inside a function of JAX that traces it: use aihwjax.nn.scan")
    return last, ys
