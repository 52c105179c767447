"""Custom step: the steps are functions of the weight that the user gives.

up    w <- clip(w + dw_up   up(w, *parameters)   (1 + sigma xi))
down  w <- clip(w - dw_down down(w, *parameters) (1 + sigma xi))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax.config import configclass, numbers
from aihwjax.devices.base import DeviceState, StepLaw, Steps, WriteNoiseDevice
from aihwjax.errors import ConfigError
from aihwjax.typing import Crosspoints, Number, Weights

StepFunction: TypeAlias = Callable[..., Any]
"""``(weights, *parameters) -> sizes``: a pure function of JAX arrays, element by element."""

_CHECKED = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass(frozen=True)
class Mirrored:
    """A step function of the mirrored weight; equal to another one of the same function, so that nothing recompiles."""

    function: StepFunction
    """The function."""

    def __call__(self, weights: jax.Array, *parameters: Number) -> Any:
        """Return the size of a step at the mirrored weights."""
        return self.function(-weights, *parameters)


def _is_real(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer))


@configclass
class CustomStepDevice(WriteNoiseDevice):
    """Device whose up and down step are functions of the weight; :func:`aihwjax.devices.from_steps` makes one.

    When to use: for a law of your own, such as published LTP and LTD curves. Everything else (spread over crosspoints,
    pulse noise, bounds, write noise) is that of all pulsed devices. Functions travel in no file: tabulate them with
    :func:`aihwjax.devices.from_table` for that.

    Raises:
        ConfigError: If a function fails, returns another shape or no finite number, or the granularity is not positive.
    """

    up: StepFunction
    """Size of an up step at a weight, as a factor of ``dw_min``: ``(weights, *parameters) -> sizes``."""
    down: StepFunction
    """Size of a down step, which is subtracted."""
    parameters: tuple[Number, ...] = numbers(())
    """Further arguments of both functions; they can be swept and differentiated."""

    step_law: ClassVar[StepLaw] = "nonlinear"
    fitted: ClassVar[tuple[str, ...]] = ("parameters",)

    def validate(self) -> None:
        """Call the functions once at five weights of the range, if all numbers are known."""
        super().validate()
        if any(np.ndim(value) for value in self.parameters):
            return  # one for each of several devices, which are judged one by one
        for name in ("up", "down"):
            self._check(name)
        granularity = self._known_granularity()
        if granularity is not None and not granularity > 0:
            raise ConfigError(
                f"{type(self).__name__}.up and down are not allowed: the mean of an up and a down step is "
                f"{granularity:.4g} at weight 0, but it sets the granularity: give functions with a positive one"
            )

    def _check(self, name: str) -> None:
        where, function = f"{type(self).__name__}.{name}", getattr(self, name)
        wanted = jax.ShapeDtypeStruct((2, 3), jnp.float32)
        try:
            found = jax.eval_shape(lambda weights: function(weights, *self.parameters), wanted)
        except Exception as error:
            hint = "; write it with jax.numpy" if isinstance(error, jax.errors.TracerArrayConversionError) else ""
            reason = next(iter(str(error).splitlines()), "")[:200]
            raise ConfigError(f"{where} fails with {type(error).__name__}: {reason}{hint}") from error
        shape = getattr(found, "shape", None)
        if shape not in ((2, 3), ()) or not _is_real(found.dtype):
            what = f"shape {shape}" if shape is not None else f"a {type(found).__name__}"
            raise ConfigError(f"{where} returns {what} for weights of shape (2, 3): return one number for each weight")
        values = self._values(name)
        if values is not None and not np.isfinite(values).all():
            weight = self._weights()[np.flatnonzero(~np.isfinite(values))[0]]
            raise ConfigError(f"{where} returns no finite number at weight {weight:g}: give a function that does")

    def _weights(self) -> np.ndarray:
        low, high = np.min(np.asarray(self.w_min, np.float64)), np.max(np.asarray(self.w_max, np.float64))
        return np.asarray([low + share * (high - low) for share in _CHECKED])

    def _values(self, name: str) -> np.ndarray | None:
        """Return the function at weights of the range; ``None`` if a number is traced or swept."""
        numbers = (*self.parameters, self.w_min, self.w_max)
        if any(isinstance(value, jax.core.Tracer) or np.ndim(value) for value in numbers):
            return None
        with jax.ensure_compile_time_eval():
            sizes = getattr(self, name)(jnp.asarray(self._weights(), jnp.float32), *self.parameters)
            return np.broadcast_to(np.asarray(sizes, np.float64), (len(_CHECKED),))

    def _known_granularity(self) -> float | None:
        if any(isinstance(value, jax.core.Tracer) or np.ndim(value) for value in self.parameters):
            return None
        with jax.ensure_compile_time_eval():
            return float(np.asarray(self._middle()))

    def _middle(self) -> jax.Array:
        zero = jnp.zeros(())
        up, down = (jnp.asarray(function(zero, *self.parameters)) for function in (self.up, self.down))
        return (up + down) / 2

    def weight_granularity(self) -> Number:
        return self.dw_min * self._middle()

    def inverted(self) -> Self:
        return self.replace(up_down=-self.up_down, up=Mirrored(self.down), down=Mirrored(self.up))

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        assert state.dwmin_up is not None and state.dwmin_down is not None
        return Steps(state.dwmin_up * self._sizes(self.up, weights), state.dwmin_down * self._sizes(self.down, weights))

    def _sizes(self, function: StepFunction, weights: Weights) -> Crosspoints:
        return jnp.broadcast_to(jnp.asarray(function(weights, *self.parameters), jnp.float32), weights.shape)
