"""Devices, periphery and pulses without any variation, so that compounds can be followed by hand."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import aihwjax as aj
from aihwjax.devices.device import Device
from aihwjax.tile.state import TileState

KEY = jax.random.key(0)
PERFECT = aj.IOParameters(is_perfect=True)
COUNTED = aj.UpdateParameters(
    pulse_type="DETERMINISTIC_IMPLICIT", desired_bl=1000, update_bl_management=False, update_management=False
)
"""As many pulses as the mean asks for."""
EXACT = aj.UpdateParameters(pulse_type="NONE_WITH_DEVICE")
"""Exact steps instead of pulses."""
WRITE = aj.UpdateParameters(pulse_type="DETERMINISTIC_IMPLICIT", desired_bl=1000)
"""Writes of the same kind."""

update = jax.jit(aj.tile.update)


def device(dw_min: float = 1e-3, bound: float = 10.0) -> aj.ConstantStepDevice:
    """Return a device whose crosspoints are all alike and without noise."""
    return aj.ConstantStepDevice(
        dw_min=dw_min,
        dw_min_dtod=0,
        dw_min_std=0,
        up_down_dtod=0,
        w_max=bound,
        w_min=-bound,
        w_max_dtod=0,
        w_min_dtod=0,
        reset_std=0,
    )


pair = partial(lambda **fields: (device(**fields), device(**fields)))
"""Two of them."""


def started(
    compound: Device, shape: tuple[int, int], *, quirks: bool = False, pulses: aj.UpdateParameters = COUNTED
) -> tuple[aj.TileConfig, TileState]:
    """Return a tile with all weights at zero."""
    config = aj.TileConfig(device=compound, update=pulses, reference_quirks=quirks)
    state = jax.jit(aj.tile.init, static_argnames="shape")(config, KEY, shape=shape)
    return config, jax.jit(aj.tile.set_weights)(config, state, jnp.zeros(shape), KEY)


def hidden(config: aj.TileConfig, state: TileState, name: str) -> np.ndarray:
    """Return one of the hidden arrays."""
    return np.asarray(aj.tile.hidden_parameters(config, state)[name])
