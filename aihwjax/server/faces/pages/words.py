"""How pages say numbers, times and states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aihwjax.chip_results import KIND
from aihwjax.server.views import Status
from aihwjax.sweep_results import KIND as SWEEP

STATUS = {
    Status.CREATED: "Not submitted",
    Status.WAITING: "Waiting",
    Status.RUNNING: "Running",
    Status.COMPLETED: "Completed",
    Status.FAILED: "Failed",
    Status.CANCELLED: "Cancelled",
}
"""The states, for people."""


def number(value: object) -> str:
    """Return a measured number with four digits; a missing or not finite one in words."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "not finite"
    return f"{value:#.4g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3e}"


def percent(value: object) -> str:
    """Return a fraction in percent."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "not finite"
    return f"{100 * value:.2f}\N{NO-BREAK SPACE}%"


def seconds(value: object) -> str:
    """Return a duration in at most two units."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "unknown"
    if value < 10:
        return f"{max(0.0, value):.2g} s"
    whole = round(value)
    for size, unit, smaller, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def size(count: int) -> str:
    """Return bytes in a unit that fits."""
    if count == 1:
        return "1 byte"
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "bytes" or value >= 100 else f"{value:.1f} {units[0]}"


def moment(value: float) -> str:
    """Return seconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(value, UTC).strftime("%-d %b %Y, %H:%M UTC")


def iso(value: float) -> str:
    """Return seconds since 1970 as programs read it."""
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def counted(count: int, thing: str) -> str:
    """Return a number of things, ``1 epoch`` or ``2 epochs``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def is_inference(summary: Mapping[str, Any] | None) -> bool:
    """Whether an experiment evaluates chips; not known before it is submitted.

    Args:
        summary: What the check of its archive said.
    """
    return (summary or {}).get("kind") == KIND


def is_sweep(summary: Mapping[str, Any] | None) -> bool:
    """Whether an experiment is a sweep; not known before it is submitted.

    Args:
        summary: What the check of its archive said.
    """
    return (summary or {}).get("kind") == SWEEP


def unit(summary: Mapping[str, Any] | None) -> str:
    """Return what an experiment counts, ``epoch``, ``chip`` or ``network``.

    Args:
        summary: What the check of its archive said.
    """
    return "network" if is_sweep(summary) else "chip" if is_inference(summary) else "epoch"


def output(summary: Mapping[str, Any] | None) -> str:
    """Return what the file of the result is.

    Args:
        summary: What the check of its archive said.
    """
    if is_sweep(summary):
        return "Table of all networks and epochs"
    return "Network and scores" if is_inference(summary) else "Trained network and metrics"
