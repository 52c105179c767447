"""Draw the response of soft-bounds devices to up and down pulses, as the tile's update gives it.

Usage: python docs/draw_pulse_response.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from aihwjax import tile
from aihwjax.devices.soft_bounds import SoftBoundsDevice
from aihwjax.tile.config import SingleRPUConfig, TileConfig
from aihwjax.tile.pulses import UpdateMode, UpdateParameters

PULSES = 300
CROSSPOINTS = 400


def pulse_response(config: TileConfig, key: jax.Array) -> np.ndarray:
    """Return the weights after each of 300 up and 300 down pulses, ``(601, crosspoints)``."""
    state = tile.init(config, key, (1, CROSSPOINTS))
    state = tile.set_weights(config, state, jnp.zeros(state.shape), key)
    x = jnp.ones((1, CROSSPOINTS))
    one_pulse = config.device.granularity()  # at this learning rate every line fires surely, once

    def pulse(state: tile.TileState, step: jax.Array) -> tuple[tile.TileState, jax.Array]:
        d = jnp.where(step < PULSES, -1.0, 1.0).reshape(1, 1)
        state = tile.update(config, state, x, d, one_pulse, jax.random.fold_in(key, step))
        return state, state.weights[0]

    _, weights = jax.lax.scan(pulse, state, jnp.arange(2 * PULSES))
    return np.concatenate([np.zeros((1, CROSSPOINTS)), np.asarray(weights)])


def draw(weights: np.ndarray, path: Path) -> None:
    """Draw the median, the spread over crosspoints and a few single crosspoints."""
    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "aihwjax", "font.size": 9, "svg.fonttype": "none"})
    pulses = np.arange(len(weights))
    low, lower, median, upper, high = np.quantile(weights, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
    figure, axis = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
    axis.fill_between(pulses, low, high, color="#3f51b5", alpha=0.15, lw=0, label="5 to 95 % of crosspoints")
    axis.fill_between(pulses, lower, upper, color="#3f51b5", alpha=0.25, lw=0, label="25 to 75 %")
    axis.plot(pulses, weights[:, :5], color="#616161", lw=0.5, label=["single crosspoints"] + [None] * 4)
    axis.plot(pulses, median, color="#3f51b5", lw=2, label="median")
    axis.axvline(PULSES, color="#9e9e9e", lw=0.8, ls=":")
    axis.set(xlabel="pulses: up, then down", ylabel="weight", xlim=(0, 2 * PULSES), title="SoftBoundsDevice")
    axis.legend(frameon=False, fontsize=8, loc="lower left")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "assets" / "pulse_response.svg"
    device = SoftBoundsDevice(dw_min=0.01, dw_min_dtod=0.3, w_max_dtod=0.15, w_min_dtod=0.15)
    update = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)
    config = SingleRPUConfig(device=device, update=update, update_mode=UpdateMode.SEQUENTIAL)
    draw(pulse_response(config, jax.random.key(7)), target)
