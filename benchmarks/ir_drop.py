"""How long does a product with IR drop take on a 512 x 512 array, and how far is it from the circuit solved in full?

The circuit has one device at each crosspoint (weights of at least 0), wires of 0.15 ohms between the crosspoints of a
column, lines without resistance, and a converter at one end of each column. It is solved by SciPy, a tridiagonal system
a column, and by badcrossbar where that is installed, a general solver of crossbars:
``pip install --no-deps badcrossbar pathvalidate`` (its drawings need cairo, its solutions do not).
"""

from __future__ import annotations

import importlib.util
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import aihwjax as aj
from benchmarks.rates import Options
from benchmarks.record import Record

OHMS, LARGEST, VOLTS, LEVELS = 0.15, 25e-6, 0.2, 63
"""Wire from crosspoint to crosspoint, largest conductance in siemens, full input in volts, and its levels."""

Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Conductances ``(lines, columns)`` and voltages ``(lines, vectors)`` to currents ``(vectors, columns)``; the converter
is at the end of the last line."""


def records(options: Options) -> list[Record]:
    """Measure the static model, and the model in time at its default number of segments and with one a line."""
    size, vectors = (32, 4) if options.quick else (512, 16)
    draws = np.random.default_rng(0)
    weights = draws.uniform(0, 1, (size, size)).astype(np.float32)
    weights[0, 0] = 1  # the largest, which has the largest conductance
    codes = draws.integers(-LEVELS, LEVELS + 1, (vectors, size))
    codes[:, 0] = LEVELS
    solvers: dict[str, Solver] = {"SciPy": tridiagonal}
    if importlib.util.find_spec("badcrossbar") is not None:
        solvers[f"badcrossbar {metadata.version('badcrossbar')}"] = crossbar
    return [
        record(name, io, ends, weights, codes, solvers, options.rounds)
        for name, io, ends in (
            ("static", aj.IOParameters(ir_drop=1.0, ir_drop_g_ratio=1 / (OHMS * LARGEST), **_QUIET), False),
            ("in time", _timed(8), True),
            ("in time, a segment a line", _timed(size), True),
        )
    ]


_QUIET: dict[str, Any] = {"out_noise": 0.0, "out_bound": 0, "out_res": -1}


def _timed(segments: int) -> aj.IOParameters:
    io: aj.IOParameters = aj.IOParametersIRDropT(
        ir_drop_rs=OHMS, ir_drop_segments=segments, ir_drop_v_read=0.4, adc_quantization=False, **_QUIET
    )
    return io


def record(
    name: str,
    io: aj.IOParameters,
    ends: bool,
    weights: np.ndarray,
    codes: np.ndarray,
    solvers: dict[str, Solver],
    rounds: int,
) -> Record:
    """Measure one model.

    Args:
        name: What the record calls it.
        io: The model.
        ends: Whether odd columns are read at the end of the first line; else all are.
        weights: Weights ``(out, in)``.
        codes: Inputs in levels ``(vectors, in)``.
        solvers: What it is compared with, by name.
        rounds: Times that it is timed.
    """
    mapping = aj.MappingParameter(max_input_size=0, max_output_size=0)
    config = aj.InferenceRPUConfig(forward=io, mapping=mapping)
    key, x = jax.random.key(0), jnp.asarray(codes / LEVELS, jnp.float32)
    state = aj.tile.set_weights(config, aj.tile.init(config, key, weights.shape), jnp.asarray(weights), key)
    run = jax.jit(aj.tile.forward)
    ours, y = _timed_calls(lambda: np.asarray(run(config, state, x, key)), rounds)
    seconds, found = {}, {}
    for solver, solve in solvers.items():
        seconds[solver], found[solver] = _timed_calls(partial(_solved, solve, ends, weights, codes), 1)
    exact, ideal = found["SciPy"], codes / LEVELS @ weights.T.astype(np.float64)
    return Record(
        name=f"ir_drop/{name}",
        unit=f"s/{len(codes)} vectors",
        higher_is_better=False,
        ours=ours,
        rounds=rounds,
        our_setting=f"{weights.shape[0]} x {weights.shape[1]}, compiled",
        details={
            "seconds": seconds,
            "loss_percent": _percent(ideal, exact),
            "deviation_percent": {"ours": _percent(y, exact)}
            | {solver: _percent(value, exact) for solver, value in found.items() if solver != "SciPy"},
        },
    )


def tridiagonal(conductances: np.ndarray, voltages: np.ndarray) -> np.ndarray:
    """Return the currents from the potentials along each column; half a distance of wire is behind the last line."""
    from scipy.linalg import solve_banded

    lines, columns = conductances.shape
    wire, currents = 1 / OHMS, np.empty((voltages.shape[1], columns))
    for column in range(columns):
        g = conductances[:, column]
        bands = np.zeros((3, lines))
        bands[0, 1:] = bands[2, :-1] = -wire
        bands[1] = g + np.r_[0, np.full(lines - 1, wire)] + np.r_[np.full(lines - 1, wire), 2 * wire]
        currents[:, column] = solve_banded((1, 1), bands, g[:, None] * voltages)[-1] * 2 * wire
    return currents


def crossbar(conductances: np.ndarray, voltages: np.ndarray) -> np.ndarray:
    """Return the currents as badcrossbar finds them; it has a whole distance of wire behind the last line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import badcrossbar  # type: ignore[import-not-found]
    logging.getLogger("badcrossbar").setLevel(logging.WARNING)
    with np.errstate(divide="ignore"):
        resistances = 1 / conductances
    solution = badcrossbar.compute(
        voltages, resistances, r_i_word_line=0, r_i_bit_line=OHMS, node_voltages=False, all_currents=False
    )
    return np.asarray(solution.currents.output)


def _solved(solve: Solver, ends: bool, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return outputs in units of the product."""
    conductances, voltages = LARGEST * weights.T.astype(np.float64), VOLTS / LEVELS * codes.T
    y = np.empty((len(codes), len(weights)))
    for chosen, turn in ((slice(0, None, 2), 1 if ends else -1), (slice(1, None, 2), -1)):
        y[:, chosen] = solve(conductances[::turn, chosen], voltages[::turn])
    return y / (LARGEST * VOLTS)


def _percent(values: np.ndarray, exact: np.ndarray) -> float:
    """Return the root mean square of a difference, in percent of that of the exact outputs."""
    return float(100 * np.sqrt(np.mean((values - exact) ** 2) / np.mean(exact**2)))


def _timed_calls(call: Callable[[], np.ndarray], rounds: int) -> tuple[float, np.ndarray]:
    """Return the median seconds of some calls, without the first where there are more, and the last result."""
    taken = []
    result = call() if rounds > 1 else None
    for _ in range(rounds):
        start = time.perf_counter()
        result = call()
        taken.append(time.perf_counter() - start)
    assert result is not None
    return statistics.median(taken), result
