"""How far is the aggregated update from the sequential one?

Both modes update many fresh tiles by the same mini-batches. The table shows, for each device and
setting, how the statistics of the final weights differ:

* change: size of the mean weight change, aggregated over sequential, minus 1;
* spread: mean variance over tiles, aggregated over sequential, minus 1;
* worst mean and worst spread: largest difference of a single crosspoint, in units of the spread
  of its row, with the largest that sampling alone would give in brackets.

Run: ``python -m benchmarks.aggregation [--tiles N] [--json FILE] [PATTERN]``.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import aihwjax as aj
from aihwjax import tile

DEVICES = {
    "constant": aj.ConstantStepDevice(),
    "constant, noisy": aj.ConstantStepDevice(dw_min_std=2.0),
    "linear": aj.LinearStepDevice(gamma_up=0.4, gamma_down=0.2),
    "linear, additive": aj.LinearStepDevice(gamma_up=0.4, gamma_down=0.0, mult_noise=False, dw_min_std=1.0),
    "soft bounds": aj.SoftBoundsDevice(),
    "soft bounds, write noise": aj.SoftBoundsDevice(write_noise_std=2.0),
    "soft bounds reference": aj.SoftBoundsReferenceDevice(reference_std=0.05, subtract_symmetry_point=True),
    "exponential": aj.ExpStepDevice(),
    "exponential, ReRAM": aj.ExpStepDevice(
        dw_min=0.00135, dw_min_dtod=0.2, dw_min_std=5.0, up_down=0.259359, up_down_dtod=0.05, w_max=1.0, w_min=-1.0,
        A_up=-1.18445, A_down=-0.081404, gamma_up=5.0, gamma_down=5.0, a=-0.5, b=-0.5, write_noise_std=75.0,
    ),
    "power": aj.PowStepDevice(pow_gamma=1.8),
    "power reference": aj.PowStepReferenceDevice(reference_std=0.05),
    "piecewise": aj.PiecewiseStepDevice(piecewise_up=(1.0, 0.4, 0.2), piecewise_down=(0.2, 1.0, 1.5)),
}  # fmt: skip

# granularity (None: the device's own), learning rate, batch size, mini-batches, shape, kind of data
SETTINGS = [
    (None, 0.3, 8, 3, (12, 16), "gaussian"),
    (0.01, 0.3, 20, 2, (12, 16), "gaussian"),
    (0.02, 1.0, 8, 10, (12, 16), "gaussian"),
    (0.1, 0.3, 8, 3, (12, 16), "gaussian"),
    (0.1, 1.0, 64, 1, (10, 40), "images"),
    (0.02, 1.0, 64, 2, (10, 40), "images"),
    (0.05, 1.0, 1, 8, (12, 16), "gaussian"),
]


def data(kind: str, n: int, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Return x and d: Gaussian, or sparse non-negative inputs with one-sided gradients as in a classifier."""
    rng = np.random.default_rng(5)
    x, d = rng.normal(size=(n, shape[1])), 0.5 * rng.normal(size=(n, shape[0]))
    if kind == "images":
        x = np.clip(x, 0, None) * (rng.random((n, shape[1])) < 0.4)
        label = rng.integers(shape[0], size=n)
        d = rng.dirichlet(np.ones(shape[0]), size=n)
        d[np.arange(n), label] -= 1
        d /= 4
    return jnp.asarray(x, jnp.float32), jnp.asarray(d, jnp.float32)


@partial(jax.jit, static_argnames=("tiles", "shape", "times"))
def moments(
    config: aj.TileConfig, x: jax.Array, d: jax.Array, rate: float, tiles: int, shape: tuple[int, int], times: int
) -> tuple[jax.Array, jax.Array]:
    """Return mean and standard deviation over tiles of the weights after ``times`` mini-batches."""
    start = 0.3 * jax.random.uniform(jax.random.key(1), shape, minval=-1, maxval=1)

    def one(key: jax.Array) -> jax.Array:
        state = tile.init(config, jax.random.fold_in(key, 1), shape)
        state = tile.set_weights(config, state, start, jax.random.fold_in(key, 2))

        def body(i: jax.Array, state: tile.TileState) -> tile.TileState:
            return tile.update(config, state, x, d, rate, jax.random.fold_in(key, 3 + i))

        return jax.lax.fori_loop(0, times, body, state).weights - start

    weights = jax.lax.map(jax.vmap(one), jax.random.split(jax.random.key(7), (tiles // 250, 250)))
    flat = weights.reshape(-1, *shape)
    return flat.mean(0), flat.std(0)


def compare(name: str, device: aj.devices.Device, setting: tuple, tiles: int) -> dict[str, object]:
    """Measure one device in one setting."""
    step, rate, n, times, shape, kind = setting
    if step is not None:
        device = device.replace(dw_min=step, **({"write_noise_std": 1.0} if "ReRAM" in name else {}))
    x, d = data(kind, n, shape)
    result, seconds = {}, {}
    for mode in (aj.UpdateMode.AGGREGATED, aj.UpdateMode.SEQUENTIAL):
        config = aj.SingleRPUConfig(device=device, update_mode=mode)
        begin = time.perf_counter()
        result[mode] = [np.asarray(a, np.float64) for a in moments(config, x, d, rate, tiles, shape, times)]
        seconds[mode] = time.perf_counter() - begin
    (m, s), (mean, spread) = result[aj.UpdateMode.SEQUENTIAL], result[aj.UpdateMode.AGGREGATED]
    row = np.sqrt((s**2).mean(axis=1, keepdims=True))
    sampling = 3.3 * np.sqrt(2 / tiles)
    return {
        "device": name,
        "dw_min": device.dw_min,
        "learning_rate": rate,
        "batch": n,
        "batches": times,
        "data": kind,
        "change": float(((mean - m) * m).sum() / (m**2).sum()),
        "spread": float((spread**2).mean() / (s**2).mean() - 1),
        "worst_mean": float(np.abs((mean - m) / row).max()),
        "worst_spread": float(np.abs((spread - s) / row).max()),
        "sampling": sampling,
        "seconds_sequential": seconds[aj.UpdateMode.SEQUENTIAL],
        "seconds_aggregated": seconds[aj.UpdateMode.AGGREGATED],
    }


def main() -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="", help="part of a device's name")
    parser.add_argument("--tiles", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    columns = ("device", "dw_min", "rate", "batch", "data", "change", "spread", "worst mean", "worst spread")
    table = Table(*columns, title=f"aggregated minus sequential, {options.tiles} tiles")
    records = []
    for name, device in DEVICES.items():
        if options.pattern not in name:
            continue
        for setting in SETTINGS:
            r = compare(name, device, setting, options.tiles)
            records.append(r)
            print(json.dumps(r), flush=True)
            table.add_row(
                name, f"{r['dw_min']:g}", f"{r['learning_rate']:g}", f"{r['batch']} x {r['batches']}", str(r["data"]),
                f"{r['change']:+.1%}", f"{r['spread']:+.1%}", f"{r['worst_mean']:.2f} ({r['sampling']:.2f})",
                f"{r['worst_spread']:.2f} ({r['sampling'] * 0.7:.2f})",
            )  # fmt: skip
    Console(width=130).print(table)
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
