"""How long does a fit of a device to measured curves take, against Powell's method on the same problem?

Powell's method of SciPy is what the reference's utility for fits uses. There it compares the readings of a device with
its simulated response, again and again. Here it gets the same measurement, the same numbers to search for and the same
beginning, from which it goes once, and everything that it asks for is compiled:

* ``Powell``: as there, the squares of what readings are off from the response without noise, device by device. Its time
  ends when its residual, their root mean square, is that of the fit;
* ``likelihood``: the objective of the fit, so that only the search differs, all devices and what they share at once.
  Its time ends when it is as good as the fit, to a thousandth of a unit of the loss.

With ``--peer DIR`` the reference's own utility runs, too, in the environment of DIR (which needs ``lmfit``): Powell's
method on its simulated tile, from what a user reads off the curve, until the residual of a device is that of the fit.

All end at the limit at the latest; then the ratio is a lower bound. Ours is a whole second call of ``aj.fit_device``:
all starts of the search, errors and responses. ``one start`` is the same with ``restarts=1``, as Powell has it. What
the first call takes for compiling is beside it.

Times are those of the processor, medians of several rounds, in turn; Powell runs once a round.

Run: ``python -m benchmarks.fitting [--devices N] [--pulses N] [--rounds N] [--limit S] [--peer DIR] [--json FILE]
[MODEL ...]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from rich.console import Console
from rich.table import Table
from scipy import optimize

import aihwjax as aj
from aihwjax.fitting.likelihood import loss, prepared, with_steps
from aihwjax.fitting.search import judged
from aihwjax.fitting.unknowns import Layout, starts

SHARED: dict[str, Any] = {
    "dw_min": 0.03, "dw_min_dtod": 0.2, "up_down": 0.15, "up_down_dtod": 0.03, "w_max": 0.7, "w_min": -0.5,
    "w_max_dtod": 0.15, "w_min_dtod": 0.1, "dw_min_std": 0.3,
}  # fmt: skip
MODELS: dict[str, tuple[aj.devices.PulsedDevice, aj.devices.PulsedDevice]] = {
    "soft bounds": (aj.SoftBoundsDevice(**SHARED), aj.SoftBoundsDevice()),
    "linear": (aj.LinearStepDevice(**SHARED, gamma_up=0.4, gamma_down=0.6), aj.LinearStepDevice()),
    "power": (aj.PowStepDevice(**SHARED, pow_gamma=1.7), aj.PowStepDevice()),
}
"""What is measured, and the model with which a search begins."""
_AS_GOOD = 1e-3


class _ReachedError(Exception):
    """The objective is as good as it has to be."""


def _search(objective: Callable[[np.ndarray], float], begin: jax.Array) -> None:
    """Search by Powell's method until the objective ends it."""
    options = {"xtol": 1e-4, "ftol": 1e-8, "maxiter": 10**6, "maxfev": 10**8}
    with contextlib.suppress(_ReachedError):
        optimize.minimize(objective, np.asarray(begin, np.float64), method="Powell", options=options)


def powell(curves: aj.PulseCurves, device: aj.devices.PulsedDevice, target: float, limit: float) -> dict[str, Any]:
    """Search by Powell's method and return time, evaluations, loss and residual."""
    layout = Layout.of(device, curves.weights.shape[1])
    data, noise = prepared(curves, device)
    resting = bool(np.asarray(data["top_rests"]).any() or np.asarray(data["bottom_rests"]).any())
    choices: dict[str, Any] = {"layout": layout, "longest": 1, "noisy": noise > 0, "resting": resting}
    begin = starts(device, layout, data, jax.random.key(0))
    begin["shape"] = jax.tree.map(jnp.zeros_like, begin["shape"])
    vector, whole = ravel_pytree(with_steps(begin, device, layout, data))
    value = jax.jit(lambda v: loss(whole(v), device, data=data, **choices))
    value(vector).block_until_ready()
    best, best_at, count = np.inf, np.asarray(vector), 0
    start = time.process_time()

    def objective(v: np.ndarray) -> float:
        nonlocal best, best_at, count
        count += 1
        found = float(value(v.astype(np.float32)))
        if found < best:
            best, best_at = found, v.copy()
        if best <= target + _AS_GOOD or time.process_time() - start > limit:
            raise _ReachedError
        return found if np.isfinite(found) else 1e6

    _search(objective, vector)
    seconds = time.process_time() - start
    first = jnp.asarray(curves.weights[0], jnp.float32)
    found = judged(
        whole(jnp.asarray(best_at, jnp.float32)), device, data, first, jnp.asarray(curves.pulses, jnp.int32), **choices
    )
    residual = float(np.sqrt(np.mean((np.asarray(found.response) - curves.weights) ** 2)))
    reached = best <= target + _AS_GOOD
    return {"seconds": seconds, "evaluations": count, "loss": best, "residual": residual, "reached": reached}


def powell_of_responses(
    curves: aj.PulseCurves, device: aj.devices.PulsedDevice, fit: aj.DeviceFit, limit: float, most: int = 6
) -> dict[str, Any]:
    """Search by Powell's method for the response of each device, of some devices for all."""
    devices = curves.weights.shape[1]
    some = range(min(devices, most))
    layout = Layout.of(device, 1)
    seconds, evaluations, squares, reached = 0.0, 0, [], True
    settings: dict[str, Any] = {"layout": layout, "longest": 1, "noisy": False, "resting": False}
    compiled: Any = None
    for number in some:
        own = aj.PulseCurves.from_arrays(curves.weights[:, number], curves.pulses[:, number])
        data, _ = prepared(own, device)
        begin = starts(device, layout, data, jax.random.key(0))
        begin["shape"] = jax.tree.map(jnp.zeros_like, begin["shape"])
        vector, whole = ravel_pytree(with_steps(begin, device, layout, data))
        first, pulses = jnp.asarray(own.weights[0], jnp.float32), jnp.asarray(own.pulses, jnp.int32)
        readings = jnp.asarray(own.weights, jnp.float32)
        if compiled is None:

            @jax.jit
            def compiled(v: Any, data: Any, first: Any, pulses: Any, readings: Any, whole: Any = whole) -> jax.Array:
                found = judged(whole(v), device, data, first, pulses, **settings).response
                return jnp.mean((found - readings) ** 2)

        compiled(vector, data, first, pulses, readings).block_until_ready()
        goal = float(np.mean((fit.response[:, number] - curves.weights[:, number]) ** 2)) * 1.001
        best, begun = np.inf, time.process_time()

        def objective(v: np.ndarray, rest: Any = (data, first, pulses, readings), goal: float = goal) -> float:
            nonlocal best, evaluations
            evaluations += 1
            found = float(compiled(v.astype(np.float32), *rest))
            best = min(best, found) if np.isfinite(found) else best
            if best <= goal or time.process_time() - begun > limit / len(some):  # noqa: B023  # called in this round
                raise _ReachedError
            return found if np.isfinite(found) else 1e6

        _search(objective, vector)
        seconds += time.process_time() - begun
        squares.append(best)
        reached = reached and best <= goal
    each = devices / len(some)
    return {
        "seconds": seconds * each,
        "evaluations": round(evaluations * each),
        "residual": float(np.sqrt(np.mean(squares))),
        "reached": reached,
    }


def reference(
    curves: aj.PulseCurves, device: aj.devices.PulsedDevice, fit: aj.DeviceFit, limit: float, peer: Path, most: int = 2
) -> dict[str, Any]:
    """Run the reference's utility on some devices and return the seconds that all would take."""
    devices = curves.weights.shape[1]
    some = min(devices, most)
    off = np.asarray(fit.response) - curves.weights
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "curves.npz"
        np.savez(
            data,
            weights=curves.weights[:, :some],
            signs=np.append(curves.pulses[:, 0] if np.ndim(curves.pulses) > 1 else curves.pulses, 0).astype(float),
            goals=np.sqrt(np.mean(off**2, axis=0))[:some] * 1.001,
            kind=type(device).__name__,
            limit=limit,
        )
        command = [peer / "bin" / "python", Path(__file__).with_name("fitting_peer.py"), data]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "reference_s": statistics.mean(found["seconds"]) * devices,
        "reference_evaluations": round(statistics.mean(found["evaluations"]) * devices),
        "reference_residuals": found["residuals"],
        "reference_reached": found["reached"],
    }


def compare(
    name: str, devices: int, pulses: int, rounds: int, limit: float, peer: Path | None = None
) -> dict[str, Any]:
    """Measure one model and number of devices."""
    true, model = MODELS[name]
    signs = np.tile(np.repeat([1, -1], pulses), 2)
    response = aj.plot.apply_pulses(true, signs, np.zeros(devices), key=1)
    curves = aj.PulseCurves.from_arrays(response.weights, signs)
    begin = time.process_time()
    fit = aj.fit_device(curves, model)
    first = time.process_time() - begin
    ours, single, theirs, likely = [], [], [], []
    aj.fit_device(curves, model, restarts=1)
    for _ in range(rounds):
        begin = time.process_time()
        fit = aj.fit_device(curves, model)
        ours.append(time.process_time() - begin)
        begin = time.process_time()
        aj.fit_device(curves, model, restarts=1)
        single.append(time.process_time() - begin)
        theirs.append(powell_of_responses(curves, model, fit, limit))
        likely.append(powell(curves, model, float(fit.losses.min()), limit))
    own, one = statistics.median(ours), statistics.median(single)
    seconds, same = (statistics.median(entry["seconds"] for entry in each) for each in (theirs, likely))
    there = {} if peer is None else reference(curves, model, fit, limit, peer)
    if there:
        there["reference_ratio"] = there["reference_s"] / own
    return {
        **there,
        "name": name,
        "devices": devices,
        "readings": len(signs),
        "numbers": sum(leaf.size for leaf in jax.tree.leaves(_numbers(curves, model))),
        "ours_s": own,
        "one_start_s": one,
        "first_call_s": first,
        "powell_s": seconds,
        "ratio": seconds / own,
        "ratio_one_start": seconds / one,
        "ratio_first_call": seconds / first,
        "powell_reached": all(entry["reached"] for entry in theirs),
        "powell_evaluations": theirs[-1]["evaluations"],
        "ours_residual": fit.residual,
        "powell_residual": theirs[-1]["residual"],
        "likelihood_s": same,
        "likelihood_ratio": same / own,
        "likelihood_ratio_one_start": same / one,
        "likelihood_reached": all(entry["reached"] for entry in likely),
        "likelihood_evaluations": likely[-1]["evaluations"],
        "ours_loss": float(fit.losses.min()),
        "likelihood_loss": likely[-1]["loss"],
    }


def _numbers(curves: aj.PulseCurves, device: aj.devices.PulsedDevice) -> Any:
    layout = Layout.of(device, curves.weights.shape[1])
    return starts(device, layout, prepared(curves, device)[0], jax.random.key(0))


def _told(record: dict[str, Any]) -> tuple[str, str]:
    if "reference_s" not in record:
        return "-", "-"
    than = "" if record["reference_reached"] else "> "
    return f"{than}{record['reference_s']:.2f}", f"{than}{record['reference_ratio']:.0f}"


def main() -> None:
    """Measure, print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"any of {', '.join(MODELS)}; all by default")
    parser.add_argument("--devices", type=int, default=30, help="devices of the joint problem")
    parser.add_argument("--pulses", type=int, default=60, help="up pulses of a cycle; there are two cycles")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=60.0, help="most processor seconds of Powell's method")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="environment of the reference, with lmfit")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = (
        "model", "devices", "numbers", "ours", "one start", "first call", "Powell", "ratio", "residual", "Powell",
        "likelihood", "ratio", "reference", "ratio",
    )  # fmt: skip
    table = Table(*names, title="processor seconds of a fit")
    records = []
    for name in options.models or MODELS:
        for devices in (options.devices, 1):
            r = compare(name, devices, options.pulses, options.rounds, options.limit, options.peer)
            records.append(r)
            print(json.dumps(r), flush=True)
            more, than = ("" if r[f"{which}_reached"] else "> " for which in ("powell", "likelihood"))
            table.add_row(
                name, str(devices), str(r["numbers"]), f"{r['ours_s']:.3f}", f"{r['one_start_s']:.3f}",
                f"{r['first_call_s']:.1f}", f"{more}{r['powell_s']:.2f}", f"{more}{r['ratio']:.1f}",
                f"{r['ours_residual']:.4f}", f"{r['powell_residual']:.4f}", f"{than}{r['likelihood_s']:.2f}",
                f"{than}{r['likelihood_ratio']:.1f}", *_told(r),
            )  # fmt: skip
    Console(width=150).print(table)
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
