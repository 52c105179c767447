"""Measured step: steps, their noise and their spread are interpolated from tables.

With the place ``q = (w - w_min) / (w_max - w_min)`` in the range of the crosspoint, tables ``f`` that are linear
between their nodes, and one draw ``r`` for each crosspoint and direction:

    up    w <- clip(w + dw_up   (f_up(q)   + dtod_up(q)   r_up   + sigma std_up(q)   xi))
    down  w <- clip(w - dw_down (f_down(q) + dtod_down(q) r_down + sigma std_down(q) xi))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from aihwjax.config import configclass, number, zero
from aihwjax.devices.base import DeviceState, StepLaw, Steps, WriteNoiseDevice, with_model
from aihwjax.errors import ConfigError
from aihwjax.random import Noise, normals
from aihwjax.typing import Number, Shape, Table, Weights

_TABLES = ("up", "down", "up_std", "down_std", "up_dtod", "down_dtod")
# Nodes of tables up to this length are summed up without a search, which fuses with the pass over the crosspoints
_FEW = 40
# Smallest distance of two nodes: closer ones differ by a slope that single precision cannot hold
CLOSEST = 1e-5


def interpolate(nodes: Table, tables: Sequence[Table], place: jax.Array) -> list[jax.Array]:
    """Interpolate tables linearly at places in 0…1; beyond, they have the values of their ends.

    Args:
        nodes: Ascending places of the entries, from 0 to 1, ``(n,)``.
        tables: Entries of each table, ``(n,)``, or one number for all nodes.
        place: Where, of any shape.
    """
    at = jnp.asarray(nodes, jnp.float32)
    values = [jnp.broadcast_to(jnp.asarray(table, jnp.float32), at.shape) for table in tables]
    # a choice and not a minimum, whose derivative at the bound would be half of the one inside
    q = jnp.where(place < 0, 0.0, jnp.where(place > 1, 1.0, place))
    segments = at.shape[0] - 1
    inverse = 1 / (at[1:] - at[:-1])
    if segments > _FEW:
        inner = lax.stop_gradient(at[1:-1])
        segment = jnp.searchsorted(inner, lax.stop_gradient(q), side="right", method="scan_unrolled")
        share = (q - at[segment]) * inverse[segment]
        return [table[segment] + (table[1:] - table[:-1])[segment] * share for table in values]
    result = [jnp.broadcast_to(table[0], q.shape) for table in values]
    for k in range(segments):
        share = (q - at[k]) * inverse[k]
        if k > 0:
            share = jnp.maximum(share, 0.0)
        if k < segments - 1:
            share = jnp.minimum(share, 1.0)
        result = [so_far + (table[k + 1] - table[k]) * share for so_far, table in zip(result, values, strict=True)]
    return result


@configclass
class MeasuredStepDevice(WriteNoiseDevice):
    """Device whose steps, pulse noise and spread over crosspoints are tables over the range of the weight.

    When to use: for devices that you measured and that no formula fits. :func:`aihwjax.devices.from_table` makes one
    of steps against conductance, in your own units, from arrays or a CSV file. All tables are factors on ``dw_min``,
    an entry for each node or one number for all; nodes are places in the range of the crosspoint. Unlike those of other
    devices, the spreads ``*_dtod`` and the noise ``dw_min_std`` are 0 unless given: the tables have what was measured.

    Example:
        >>> import aihwjax as aj
        >>> device = aj.MeasuredStepDevice(nodes=[0.0, 0.3, 1.0], up=[1.5, 1.0, 0.2], down=[0.1, 1.0, 1.8])
        >>> aj.SingleRPUConfig(device=device).device.up.tolist()
        [1.5, 1.0, 0.2]
    """

    dw_min_dtod: Number = number(0.0, minimum=0)
    """Spread of the step size over crosspoints, relative to ``dw_min``, besides that of the tables."""
    dw_min_std: Number = number(0.0, minimum=0, off=zero)
    """Cycle-to-cycle noise of a pulse: relative to the step, or the factor on the tables of noise if there are any."""
    up_down_dtod: Number = number(0.0, minimum=0)
    """Spread of the asymmetry over crosspoints, relative to ``dw_min``."""
    w_max_dtod: Number = number(0.0, minimum=0)
    """Spread of the upper bound over crosspoints, relative to ``w_max``; the tables stretch with the range."""
    w_min_dtod: Number = number(0.0, minimum=0)
    """Spread of the lower bound over crosspoints, relative to ``w_min``; the tables stretch with the range."""
    nodes: Table = number((0.0, 1.0), minimum=0, maximum=1)
    """Places of the entries in the range of the crosspoint: ascending, the first 0 and the last 1, ``(n,)``."""
    up: Table = number((1.0, 1.0))
    """Up steps, as factors of ``dw_min``, ``(n,)``."""
    down: Table = number((1.0, 1.0))
    """Down steps, which are subtracted, ``(n,)``."""
    up_std: Table | None = number(None, minimum=0, optional=True)
    """Standard deviations of the noise of up pulses, as factors of ``dw_min_std dw_min``, ``(n,)``; ``None``: those of
    the steps."""
    down_std: Table | None = number(None, minimum=0, optional=True)
    """The same of down pulses; both or none."""
    up_dtod: Table | None = number(None, minimum=0, optional=True)
    """Standard deviations of up steps over crosspoints, as factors of ``dw_min``, ``(n,)``; ``None``: 0."""
    down_dtod: Table | None = number(None, minimum=0, optional=True)
    """The same of down steps; both or none."""
    spread_correlation: Number = number(1.0, minimum=-1, maximum=1)
    """Correlation of ``up_dtod`` and ``down_dtod``: 1 means that a crosspoint with large up steps has large down
    steps, 0 that one says nothing of the other."""

    step_law: ClassVar[StepLaw] = "nonlinear"
    fitted: ClassVar[tuple[str, ...]] = ("up", "down")

    def validate(self) -> None:
        """Refuse tables of other lengths, nodes out of order, and steps that do not move a weight of 0."""
        super().validate()
        kind = type(self).__name__
        for first, second in (("up_std", "down_std"), ("up_dtod", "down_dtod")):
            if (getattr(self, first) is None) is not (getattr(self, second) is None):
                raise ConfigError(f"{kind}.{first} and {second} are not allowed without each other: give both or none")
        shapes = {name: np.shape(getattr(self, name)) for name in _TABLES if getattr(self, name) is not None}
        shape = np.shape(self.nodes)
        if len(shape) != 1 or shape[0] < 2:
            raise ConfigError(f"{kind}.nodes of shape {shape} is not allowed: give a list of at least 2 numbers")
        for name, own in shapes.items():
            if own not in (shape, ()):
                raise ConfigError(f"{kind}.{name} of shape {own} is not allowed: give {shape[0]} values, one a node")
        if not isinstance(self.nodes, jax.core.Tracer):
            self._check_nodes(np.asarray(self.nodes, np.float64))
        granularity = self._middle()
        if granularity is not None and not granularity > 0:
            raise ConfigError(
                f"{kind}.up and down are not allowed: their mean at weight 0 is {granularity:.4g},"
                " but it sets the granularity: give a positive one"
            )

    def _check_nodes(self, nodes: np.ndarray) -> None:
        kind = type(self).__name__
        if nodes[0] != 0 or nodes[-1] != 1:
            raise ConfigError(f"{kind}.nodes from {nodes[0]:g} to {nodes[-1]:g} is not allowed: give them from 0 to 1")
        for k in np.flatnonzero(np.diff(nodes) < CLOSEST)[:1]:
            raise ConfigError(
                f"{kind}.nodes[{k + 1}]={nodes[k + 1]:g} is not allowed after {nodes[k]:g}: give ascending places, at "
                f"least {CLOSEST:g} apart"
            )

    def _middle(self) -> float | None:
        """Return the mean of an up and a down step at weight 0, as a factor; ``None`` if it is not known yet."""
        values = (self.nodes, self.up, self.down, self.w_min, self.w_max)
        if any(isinstance(value, jax.core.Tracer) for value in values) or np.ndim(self.w_min) or np.ndim(self.w_max):
            return None
        nodes, up, down, bottom, top = (np.asarray(value, np.float64) for value in values)
        place = -bottom / (top - bottom) if top > bottom else 0.5
        return float(np.interp(place, nodes, np.broadcast_to((up + down) / 2, nodes.shape)))

    def weight_granularity(self) -> Number:
        bottom = jnp.asarray(self.w_min, jnp.float32)
        span = jnp.asarray(self.w_max, jnp.float32) - bottom
        place = jnp.where(span > 0, -bottom / jnp.where(span > 0, span, 1.0), 0.5)
        up, down = interpolate(self.nodes, (self.up, self.down), place)
        mean = (up + down) / 2
        return jnp.where(mean > 0, self.dw_min * mean, self.dw_min)

    def inverted(self) -> Self:
        def turned(table: Table | None) -> Table | None:
            return table if table is None or np.ndim(table) == 0 else jnp.asarray(table)[::-1]

        mirrored = {
            "up": turned(self.down),
            "down": turned(self.up),
            "up_std": turned(self.down_std),
            "down_std": turned(self.up_std),
            "up_dtod": turned(self.down_dtod),
            "down_dtod": turned(self.up_dtod),
        }
        # not 1 - nodes in single precision, whose ends have to be 0 and 1 exactly
        nodes = self.nodes if isinstance(self.nodes, jax.core.Tracer) else np.asarray(self.nodes, np.float64)
        return self.replace(up_down=-self.up_down, nodes=1 - nodes[::-1], **mirrored)  # type: ignore[index]

    def sample_model(self, key: Noise, shape: Shape, state: DeviceState) -> DeviceState:
        if self.up_dtod is None:
            return state
        normal = normals(key, ["up_dtod", "down_dtod"], shape)
        shared = jnp.asarray(self.spread_correlation)
        other = jnp.sqrt(jnp.maximum(1 - shared**2, 0.0))
        up = normal["up_dtod"]
        return with_model(state, spread_up=up, spread_down=shared * up + other * normal["down_dtod"])

    def place(self, state: DeviceState, weights: Weights) -> Float[Array, "out in"]:
        """Return where weights are in the range of their crosspoint, 0…1."""
        top, bottom = state.max_bound, state.min_bound
        assert top is not None and bottom is not None
        live = top > bottom
        return jnp.where(live, (weights - bottom) / jnp.where(live, top - bottom, 1.0), 0.0)

    def steps(self, state: DeviceState, weights: Weights) -> Steps:
        assert state.dwmin_up is not None and state.dwmin_down is not None
        tables = [self.up, self.down]
        if self.up_dtod is not None and self.down_dtod is not None:
            tables += [self.up_dtod, self.down_dtod]
        up, down, *spread = interpolate(self.nodes, tables, self.place(state, weights))
        if spread:
            wide_up, wide_down = (
                up + spread[0] * state.model["spread_up"],
                down + spread[1] * state.model["spread_down"],
            )
            if self.enforce_consistency:  # spread alone turns no step round
                wide_up = jnp.maximum(wide_up, jnp.minimum(up, 0.0))
                wide_down = jnp.maximum(wide_down, jnp.minimum(down, 0.0))
            up, down = wide_up, wide_down
        return Steps(state.dwmin_up * up, state.dwmin_down * down)

    def pulse_noise(self, state: DeviceState, weights: Weights, steps: Steps) -> Steps:
        if self.up_std is None or self.down_std is None:
            return super().pulse_noise(state, weights, steps)
        assert state.dwmin_up is not None and state.dwmin_down is not None
        up, down = interpolate(self.nodes, (self.up_std, self.down_std), self.place(state, weights))
        sigma = jnp.asarray(self.dw_min_std)
        return Steps(sigma * state.dwmin_up * up, sigma * state.dwmin_down * down)

    def coarseness(self, state: DeviceState) -> Float[Array, " 2"]:
        # of the whole table: three places, as for formulas, could miss or overrate the noise of a measured one
        assert state.max_bound is not None and state.min_bound is not None
        assert state.dwmin_up is not None and state.dwmin_down is not None
        span = jnp.maximum(state.max_bound - state.min_bound, 1e-12)
        nodes = jnp.asarray(self.nodes, jnp.float32)
        slope = step = jnp.zeros(())
        for table, size in ((self.up, state.dwmin_up), (self.down, state.dwmin_down)):
            values, unit = (
                jnp.broadcast_to(jnp.asarray(table, jnp.float32), nodes.shape),
                jnp.mean(jnp.abs(size) / span),
            )
            slope += unit * jnp.sum(jnp.abs(jnp.diff(values))) / 2
            middles = jnp.abs(values[1:] + values[:-1]) / 2
            # a step over half the range, mean of up and down: twice a half
            step += unit * jnp.sum(middles * jnp.diff(nodes))
        return jnp.stack([slope, step])
