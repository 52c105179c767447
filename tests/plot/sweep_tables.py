"""Tables of sweeps that nobody trained."""

from __future__ import annotations

import itertools
from typing import Any

from aihwjax.experiments import SweepTable


def sweep_table(count: int, grid: bool = True) -> SweepTable:
    """A table over two numbers and a choice, two networks and two epochs each; the first configuration diverges.

    Args:
        count: Values of each number.
        grid: Whether all combinations are there.
    """
    steps = [0.001 * 10**place for place in range(count)]
    points = list(itertools.product(steps, range(count), ("ALL", "NONE")))
    if not grid:
        points = [(step * (1 + 0.01 * number), skew, kind) for number, (step, skew, kind) in enumerate(points)]
    rows: list[dict[str, Any]] = []
    for index, (step, skew, kind) in enumerate(points):
        for seed, epoch in itertools.product(range(2), range(2)):
            diverged = index == 0 and seed == 1
            if diverged and epoch == 1:
                continue
            accuracy = (index + 0.1 * seed) / len(points) * (0.5 + 0.5 * epoch)
            point = {"device.dw_min": step, "device.up_down": skew, "kind": kind}
            rows.append({"index": index, "seed": seed, **point, "epoch": epoch, "accuracy": accuracy,
                         "train_loss": 1 - accuracy, "diverged": diverged})  # fmt: skip
    return SweepTable(rows, ("device.dw_min", "device.up_down", "kind"))
