"""Piecewise linear step: the step is interpolated from a table over the range of the crosspoint."""

from __future__ import annotations

from typing import ClassVar, Self

import jax
import jax.numpy as jnp

from aihwjax.config import configclass, numbers
from aihwjax.devices.base import DeviceState, StepLaw, Steps, WriteNoiseDevice
from aihwjax.errors import ConfigError
from aihwjax.typing import Number, Weights


def interpolate(table: tuple[Number, ...], place: jax.Array) -> jax.Array:
    """Interpolate ``table`` linearly at ``place`` in 0…1.

    The table is written as a sum of ramps, which needs no gather: every entry adds the change
    of slope at its node.
    """
    count = len(table)
    if count == 1:
        return jnp.broadcast_to(jnp.asarray(table[0], place.dtype), place.shape)
    q = jnp.clip(place * (count - 1), 0.0, count - 1.0)
    result = jnp.asarray(table[0]) + (table[1] - table[0]) * q
    for node in range(1, count - 1):
        bend = table[node + 1] - 2 * table[node] + table[node - 1]
        result = result + bend * jnp.maximum(q - node, 0.0)
    return result


@configclass
class PiecewiseStepDevice(WriteNoiseDevice):
    """Device whose steps are given by two tables over the weight range.

    When to use: for a measured step-versus-weight curve that no formula fits. The tables hold
    factors on the step, at equal distances from the lower to the upper bound. Spec: devices,
    section 3.9.
    """

    piecewise_up: tuple[Number, ...] = numbers((1.0,))
    """Factors of the up step."""
    piecewise_down: tuple[Number, ...] = numbers((1.0,))
    """Factors of the down step."""

    step_law: ClassVar[StepLaw] = "nonlinear"

    def validate(self) -> None:
        super().validate()
        up, down = self.piecewise_up, self.piecewise_down
        if len(up) != len(down) or not up:
            raise ConfigError(
                f"PiecewiseStepDevice.piecewise_down has {len(down)} entries: give as many as"
                f" piecewise_up ({len(up)}), at least one"
            )
        middle = up[len(up) // 2]
        if isinstance(middle, int | float) and middle <= 0:  # spec: devices, bug 11
            raise ConfigError(
                f"PiecewiseStepDevice.piecewise_up[{len(up) // 2}]={middle!r} is not allowed: give a positive"
                " factor at the middle of the range, which sets the granularity"
            )

    def weight_granularity(self) -> Number:
        return self.dw_min * self.piecewise_up[len(self.piecewise_up) // 2]

    def inverted(self) -> Self:
        return self.replace(
            up_down=-self.up_down, piecewise_up=self.piecewise_down[::-1], piecewise_down=self.piecewise_up[::-1]
        )

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        top, bottom = state.max_bound, state.min_bound
        assert top is not None and bottom is not None
        assert state.dwmin_up is not None and state.dwmin_down is not None
        live = top > bottom
        place = jnp.where(live, (weights - bottom) / jnp.where(live, top - bottom, 1.0), 0.0)
        up, down = interpolate(self.piecewise_up, place), interpolate(self.piecewise_down, place)
        return Steps(state.dwmin_up * up, state.dwmin_down * down)
