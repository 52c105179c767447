"""Runs inside the reference's Python: its own utility for fits on measured curves, device by device.

``python fitting_peer.py DATA`` reads an ``.npz`` with ``weights`` (readings, devices), ``signs``, ``goals`` (a residual
for each device at which its time ends), ``kind`` (class of the model) and ``limit``, and prints one JSON object. It
needs ``aihwkit`` and ``lmfit``; the search is Powell's method, the utility's default.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time

import numpy as np
from aihwkit.simulator.configs import devices
from aihwkit.utils.fitting import fit_measurements

SHAPES = {
    "SoftBoundsDevice": {},
    "LinearStepDevice": {"gamma_up": (0.0, -0.9, 3.0), "gamma_down": (0.0, -0.9, 3.0)},
    "PowStepDevice": {"pow_gamma": (1.0, 0.1, 5.0)},
}
"""Numbers of the models besides steps and bounds: beginning, least and largest."""


class EndError(Exception):
    """The search is as good as it has to be, or at its limit."""


class Search:
    """What is known of a search while it runs."""

    def __init__(self, goal: float, limit: float) -> None:
        """Begin."""
        self.goal, self.limit, self.begun = goal, limit, time.process_time()
        self.best, self.evaluations = np.inf, 0

    def watch(self, _: object, number: int, deviation: np.ndarray, *__: object, **___: object) -> None:
        """See an evaluation.

        Raises:
            EndError: It shall be the last.
        """
        self.evaluations += 1
        self.best = min(self.best, float(np.sqrt(np.mean(deviation**2))))
        if self.best <= self.goal or time.process_time() - self.begun > self.limit:
            raise EndError


def main() -> None:
    """Fit each device and print seconds, evaluations and residuals."""
    given = np.load(sys.argv[1])
    kind, limit = str(given["kind"]), float(given["limit"])
    seconds, evaluations, residuals = [], [], []
    for curve, goal in zip(given["weights"].T, given["goals"], strict=True):
        top, bottom, step = float(curve.max()), float(curve.min()), max(float(np.abs(np.diff(curve)).mean()), 1e-4)
        parameters = {
            "dw_min": (step, step / 100, 100 * step),
            "up_down": (0.0, -0.99, 0.99),
            "w_max": (top, top / 3, 3 * top),
            "w_min": (bottom, 3 * bottom, bottom / 3),
            **SHAPES[kind],
        }
        search = Search(goal, limit)
        with contextlib.suppress(EndError):
            fit_measurements(
                parameters, given["signs"], curve, getattr(devices, kind)(), method="powell", iter_cb=search.watch
            )
        seconds.append(time.process_time() - search.begun)
        evaluations.append(search.evaluations)
        residuals.append(search.best)
    reached = bool(np.all(np.asarray(residuals) <= given["goals"]))
    print(json.dumps({"seconds": seconds, "evaluations": evaluations, "residuals": residuals, "reached": reached}))


if __name__ == "__main__":
    main()
