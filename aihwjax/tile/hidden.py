"""What is known of each crosspoint besides its weight: parameters and pulse counts (spec: devices, section 5)."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping

import jax.numpy as jnp

from aihwjax import arguments
from aihwjax.devices.counts import PulseCounts, counters
from aihwjax.errors import ConfigError
from aihwjax.precision import in_single
from aihwjax.tile.config import TileConfig
from aihwjax.tile.hidden_checks import as_before, checked, device_text, in_order
from aihwjax.tile.matching import fitting_device, fixed, spoiled
from aihwjax.tile.product.frozen import REDRAW
from aihwjax.tile.state import TileState
from aihwjax.typing import Hidden

_SWITCH = ".count_pulses"


@arguments.answered
@in_single
def hidden_parameters(config: TileConfig, state: TileState) -> dict[str, Hidden]:
    """Return the per-crosspoint parameters, each ``(out, in)``, under the reference's names.

    Empty for devices without pulses and under pulse type ``NONE`` (spec: devices, section 5).
    """
    device, _ = fitting_device(config, state)
    return device.hidden_parameters(state.device, state.weights)


@arguments.answered
@in_single
def set_hidden_parameters(config: TileConfig, state: TileState, parameters: Mapping[str, Hidden]) -> TileState:
    """Set parameters of each crosspoint, such as those of measured devices, and return the new tile.

    The names are those of :func:`hidden_parameters`; what is not given stays. Everything that follows uses them, the
    next update to the pulse. What depends on them follows:

    * Weights are clipped to new bounds, and hidden weights to the bounds that there are, as in the reference.
    * The visible weight of a cell is computed anew where a weight of its devices changes.
    * With write noise, ``persistent_weights`` and the apparent weight move together if only one of them is given, and
      are taken as they are if both are.
    * The number of pulses for a learning rate does not: the granularity is that of the configuration (``dw_min``).

    Example:
        >>> import jax
        >>> import aihwjax as aj
        >>> config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice())
        >>> state = aj.tile.init(config, jax.random.key(0), (3, 4))
        >>> bounds = aj.tile.hidden_parameters(config, state)["max_bound"].at[0, 0].set(0.01)
        >>> state = aj.tile.set_hidden_parameters(config, state, {"max_bound": bounds})
        >>> bool(state.weights[0, 0] <= 0.01)
        True

    Args:
        config: The tile's configuration.
        state: The tile.
        parameters: Arrays ``(out, in)`` by name.

    Raises:
        ConfigError: If a name is unknown (with the nearest one), a parameter belongs to a feature that the devices were
            drawn without, a lower bound is above the upper one, or the tile was drawn with another configuration.
        DataError: If a value is no array of real numbers, or a counter is no whole number from 0.
        ShapeError: If an array does not have the tile's shape.
        NonFiniteError: If a number is NaN or infinite; not checked inside a traced function. If bounds are in the wrong
            order there, or a parameter cannot be set, the first weight becomes NaN.
    """
    device, holds = fitting_device(config, state)
    present = device.hidden_parameters(state.device, state.weights)
    values = checked(parameters, present, device_text(config))
    conditions = [] if holds is None else [holds]
    for name, reason in device.fixed_parameters(state.device).items():
        if name in values:
            conditions += as_before(name, values.pop(name), present[name], reason)
    conditions += in_order({**present, **values})
    parts, weights = device.set_hidden_parameters(state.device, state.weights, values)
    holds = jnp.all(jnp.stack(conditions)) if conditions else None
    return dataclasses.replace(state, device=parts, weights=spoiled(weights, holds))


@arguments.answered
@in_single
def pulse_counts(config: TileConfig, state: TileState) -> PulseCounts:
    """Return how many up and down pulses each crosspoint got since the tile was drawn, each ``(out, in)`` int32.

    Those of several devices at a crosspoint are summed; :func:`hidden_parameters` has them apart, and the device of a
    ``OneSidedUnitCell`` that lowers the weight is pulsed up as well. Setting weights, resets and exact steps are no
    pulses; :func:`redraw` starts anew.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import aihwjax as aj
        >>> config = aj.SingleRPUConfig(device=aj.ConstantStepDevice(count_pulses=True))
        >>> key = jax.random.key(0)
        >>> state = aj.tile.init(config, key, (3, 4))
        >>> state = aj.tile.update(config, state, jnp.ones((1, 4)), -jnp.ones((1, 3)), 0.01, key)
        >>> counts = aj.tile.pulse_counts(config, state)
        >>> bool((counts.up > 0).all()), int(counts.down.sum())
        (True, 0)

    Args:
        config: The tile's configuration.
        state: The tile.

    Raises:
        ConfigError: If no device of the tile counts its pulses, or the tile was drawn with another configuration.
    """
    fitting_device(config, state)
    found = counters(state.device)
    if not found:
        raise ConfigError(_uncounted(config))
    return functools.reduce(operator.add, found)


def _uncounted(config: TileConfig) -> str:
    switches = {path: value for path, value in fixed(config).choices.items() if path.endswith(_SWITCH)}
    if not switches:
        return f"pulses are not counted on this tile: its device {device_text(config)} gets none"
    if any(switches.values()):
        return f"pulses are not counted on this tile, which was drawn without counters: {REDRAW}"
    path = next(iter(switches))
    return f"pulses are not counted on this tile, as {path} is False: set it to True, and {REDRAW}"
