"""Schedules whose numbers are there to be changed: a function with its arguments, as one pytree."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax.arguments import answered
from aihwjax.errors import ConfigError, nearest
from aihwjax.typing import Number


@jax.tree_util.register_pytree_node_class
class Schedule:
    """A learning rate as a function of the step, by the arguments that it was made with; see :func:`schedule`.

    A pytree: numbers that the function can take as traced values are leaves, so that others need no new program. The
    rest (numbers that it looks at, dictionaries, flags) is part of the structure.
    """

    def __init__(
        self,
        function: Callable[..., Callable[[Any], Any]],
        arguments: dict[str, Any],
        numbers: tuple[str, ...] | None = None,
    ) -> None:
        """Check that the arguments make a schedule.

        Args:
            function: Makes a schedule, such as ``optax.cosine_decay_schedule``.
            arguments: Of the function, by name.
            numbers: Those that may be traced; ``None``: they are found out.

        Raises:
            ConfigError: If the function does not take them (with the nearest name), or refuses them.
        """
        name = getattr(function, "__name__", type(function).__name__)
        if not callable(function):
            raise ConfigError(f"function={function!r} is not allowed: give one that makes a schedule")
        _check_names(function, name, arguments)
        self.function, self._name = function, name
        try:
            made = function(**arguments)
        except Exception as error:  # whatever a function of somebody else thinks of them
            raise ConfigError(f"{name} refuses its arguments: {' '.join(str(error).split())[:200]}") from None
        if not callable(made):
            raise ConfigError(f"{name} is not allowed: give a function that makes a schedule, such as one of optax")
        if numbers is None:
            real = [key for key, value in arguments.items() if _is_number(value)]
            numbers = tuple(key for key in real if _takes_traced(function, arguments, key))
        self._numbers = {key: arguments[key] for key in numbers}
        self._fixed = {key: value for key, value in arguments.items() if key not in self._numbers}

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name."""
        return {**self._fixed, **self._numbers}

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the arguments of which others need no new program."""
        return tuple(self._numbers)

    def replace(self, **arguments: Any) -> Self:
        """Return the same schedule with other arguments.

        Args:
            **arguments: New values by name.

        Raises:
            ConfigError: If the schedule has no such argument (with the nearest name), or refuses a value.
        """
        _check_names(self.function, self._name, arguments)
        known = all(name in self._numbers and _is_number(value) for name, value in arguments.items())
        return type(self)(self.function, {**self.arguments, **arguments}, self.numbers if known else None)

    def __call__(self, step: Any) -> Number:
        """Return the rate of a step.

        Args:
            step: Number of steps done; may be traced.
        """
        return self.function(**self.arguments)(step)

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return the numbers, and what is part of the structure."""
        fixed = tuple((name, _Fixed(value)) for name, value in sorted(self._fixed.items()))
        return tuple(self._numbers.values()), (self.function, tuple(self._numbers), fixed)

    @classmethod
    def tree_unflatten(cls, structure: tuple[Any, ...], numbers: Iterable[Any]) -> Self:
        """Return a schedule of its parts; nothing is checked, as leaves may be anything in between."""
        made = object.__new__(cls)
        function, names, fixed = structure
        made.function, made._name = function, getattr(function, "__name__", type(function).__name__)
        made._numbers = dict(zip(names, numbers, strict=True))
        made._fixed = {name: each.value for name, each in fixed}
        return made

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(f'{name}={value}' for name, value in self.arguments.items())})"


class _Fixed:
    """A value that is compared by what it says, as dictionaries and arrays have no hash."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._text = f"{type(value).__name__} {value!r}" + (f" {id(value)}" if callable(value) else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fixed) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


def schedule(function: Callable[..., Callable[[Any], Any]], **arguments: Any) -> Schedule:
    """Return a schedule whose arguments a sweep can vary, by ``"learning_rate.NAME"``.

    It is a learning rate like any other. Numbers that the function takes as they are become arguments of the compiled
    program; those that it looks at while it makes the schedule, such as a number of steps in optax, do not.

    Example:
        >>> import optax
        >>> import aihwjax as aj
        >>> rate = aj.schedule(optax.cosine_decay_schedule, init_value=0.1, decay_steps=100, alpha=0.01)
        >>> rate.numbers, round(float(rate(100)), 6)
        (('init_value', 'alpha'), 0.001)
        >>> rate.replace(alpha=0.1)
        cosine_decay_schedule(decay_steps=100, init_value=0.1, alpha=0.1)

    Args:
        function: Makes a schedule, such as :func:`step_decay` or one of optax.
        **arguments: Of the function.

    Raises:
        ConfigError: If the function does not take them (with the nearest name), or refuses them.
    """
    return Schedule(function, arguments)


@answered
def step_decay(init_value: Number, factor: Number, every: Number) -> Callable[[Any], Number]:
    """Return a schedule that multiplies the rate by a factor after each so many steps.

    ``init_value * factor^floor(step / every)``; all three may be traced, so that a sweep varies them in one program.

    Example:
        >>> from aihwjax.schedules import step_decay
        >>> [round(float(step_decay(0.1, 0.5, 10)(step)), 4) for step in (0, 9, 10, 25)]
        [0.1, 0.1, 0.05, 0.025]

    Args:
        init_value: Rate of the first steps.
        factor: From one stair to the next, above 0.
        every: Steps of a stair.
    """
    return lambda step: init_value * jnp.power(jnp.float32(factor), jnp.floor_divide(step, every))


@answered
def exponential_decay(init_value: Number, factor: Number, every: Number) -> Callable[[Any], Number]:
    """Return a schedule that falls smoothly, by a factor in each so many steps.

    ``init_value * factor^(step / every)``; all three may be traced, which those of
    ``optax.exponential_decay`` may not.

    Example:
        >>> from aihwjax.schedules import exponential_decay
        >>> round(float(exponential_decay(0.1, 0.25, 10)(5)), 4)
        0.05

    Args:
        init_value: Rate of the first step.
        factor: After so many steps, above 0.
        every: The steps.
    """
    return lambda step: init_value * jnp.power(jnp.float32(factor), step / every)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | np.bool_ | str) or value is None:
        return False
    return isinstance(value, int | float | np.number | jax.Array | np.ndarray) and np.shape(value) == ()


def _takes_traced(function: Callable[..., Any], arguments: dict[str, Any], name: str) -> bool:
    """Whether a function makes a schedule of a number that is not known."""

    def rate(number: Any) -> Any:
        return jnp.asarray(function(**{**arguments, name: number})(jnp.int32(0)))

    try:
        jax.eval_shape(rate, jax.ShapeDtypeStruct((), jnp.float32))
    except Exception:  # whatever it did with it
        return False
    return True


def _check_names(function: Callable[..., Any], name: str, arguments: dict[str, Any]) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters]
    for argument in arguments:
        if argument not in known:
            raise ConfigError(f"{name} has no argument {argument!r}{nearest(argument, known)}")
