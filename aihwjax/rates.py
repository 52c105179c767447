"""Learning rates: numbers, traced numbers and schedules, and what is allowed for them."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from aihwjax.config import LARGEST
from aihwjax.errors import ConfigError
from aihwjax.schedules import Schedule
from aihwjax.tile.checks import check_learning_rate
from aihwjax.typing import Number

LearningRate: TypeAlias = Number | optax.Schedule
"""A number, a traced number, or a function from the number of steps done to one."""

_LOOKS_AT_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
_BLOCK = 2**16
"""Steps of a schedule that are looked at together."""


def check_rate(learning_rate: LearningRate) -> LearningRate:
    """Return a learning rate if it is allowed as far as that is known: a number, or a schedule at step 0.

    Args:
        learning_rate: A number, an array of one element, a traced value, or a schedule.

    Raises:
        ConfigError: If it is anything else, negative, not finite or too large.
    """
    if not callable(learning_rate):
        return check_learning_rate(learning_rate)
    rate_at(learning_rate, 0)
    return learning_rate


def check_traceable(learning_rate: LearningRate) -> None:
    """Refuse a schedule that a compiled training loop cannot use; its values are not looked at.

    Args:
        learning_rate: Any learning rate; what is no schedule passes.

    Raises:
        ConfigError: If it looks at the value of its step, or does not return one real number.
    """
    if callable(learning_rate):
        schedule: Any = learning_rate
        jax.eval_shape(lambda step: jnp.asarray(rate_at(schedule, step)), jax.ShapeDtypeStruct((), jnp.int32))


def rate_at(learning_rate: LearningRate, step: int | Int[Array, ""]) -> Number:
    """Return the learning rate of a step, checked as far as it is known.

    Args:
        learning_rate: A number, a traced value, or a schedule.
        step: Number of steps done; may be traced.

    Raises:
        ConfigError: If it is negative, not finite, too large or not one number; if a schedule looks at the value of
            a traced step, or cannot be called with a step.
    """
    if not callable(learning_rate):
        return check_learning_rate(learning_rate)
    try:
        value = learning_rate(step)
    except _LOOKS_AT_VALUES as error:
        raise ConfigError(
            "learning_rate is a schedule that looks at the value of its step (a Python if, float(), math or numpy), "
            "which a compiled step does not know: use jnp.where, jax.numpy, or an optax schedule such as "
            "optax.join_schedules"
        ) from error
    except TypeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"learning_rate={getattr(learning_rate, '__name__', type(learning_rate).__name__)} is not allowed: "
            f"give a number, or a function of the step that returns one ({reason})"
        ) from error
    where = "" if isinstance(step, jax.core.Tracer) else f" of the schedule at step {int(step)}"
    return check_learning_rate(value, where)


class ScheduleCheck:
    """Looks at the learning rates of a run's steps before they are taken."""

    def __init__(self, learning_rate: LearningRate, first: int, end: int, at_once: int = 1) -> None:
        """Prepare.

        Args:
            learning_rate: Any; what is no schedule needs no further look.
            first: First step of the run.
            end: Step after its last.
            at_once: At least so many steps are looked at together.
        """
        self._schedule = learning_rate if callable(learning_rate) else None
        self._next, self._end = first, end
        self._block = max(1, min(end - first, max(_BLOCK, at_once)))

    def before(self, step: int) -> None:
        """Look at all steps before ``step``, and as many more as come at the same price.

        Raises:
            ConfigError: If the rate of one is negative, not finite or too large; names the first such step.
        """
        while self._schedule is not None and self._next < min(step, self._end):
            first = jax.device_put(np.int32(self._next))  # by itself: a run sends nothing to the device unasked
            block = _rates_of_numbers if isinstance(self._schedule, Schedule) else _rates
            rates = np.asarray(block(self._schedule, self._block, first))[: self._end - self._next]
            wrong = ~((rates >= 0) & (rates <= LARGEST))
            if wrong.any():
                index = int(np.argmax(wrong))
                raise ConfigError(
                    f"learning_rate={rates[index]:g} of the schedule at step {self._next + index} is not allowed: "
                    f"give a finite number of at least 0 and at most {LARGEST:g} at each of the {self._end} steps"
                )
            self._next += self._block


def _every_rate(schedule: optax.Schedule, count: int, first: jax.Array) -> jax.Array:
    each = lambda step: jnp.asarray(rate_at(schedule, step), jnp.float32)  # noqa: E731
    return jax.vmap(each)(first + jnp.arange(count, dtype=jnp.int32))


_rates = jax.jit(_every_rate, static_argnames=("schedule", "count"))
_rates_of_numbers = jax.jit(_every_rate, static_argnames=("count",))
"""Of a schedule that is a pytree: other numbers compile nothing."""
