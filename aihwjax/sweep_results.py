"""What a job tells of the networks of a sweep, and the rows of its table from that; known without JAX."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aihwjax.scores import NETWORK

KIND = "Sweep"
"""Of an experiment whose metrics are those of the networks of a sweep."""
_TOLD = ("epoch", "diverged")


def network_entry(
    number: int, rows: Sequence[Mapping[str, Any]], paths: Iterable[str], seconds: float
) -> dict[str, Any]:
    """Return what a job tells of a network, in the form of an epoch: its number, and metrics of its last epoch.

    Args:
        number: Of the network, in the order in which they are done.
        rows: Of the network, one an epoch, from the table of a sweep.
        paths: What its configuration says.
        seconds: How long it took.
    """
    last = rows[-1]
    values = {path: last[path] for path in paths}
    own = {"index", "seed", *values}
    table = [{name: value for name, value in row.items() if name not in own} for row in rows]
    metrics = {name: value for name, value in table[-1].items() if name not in _TOLD}
    network = {"index": last["index"], "seed": last["seed"], "values": values, "rows": table}
    return {"epoch": number, **metrics, "time_epoch": seconds, NETWORK: network}


def rows_of(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a sweep's table, in the order of configuration, seed and epoch.

    A metric that is ``None`` is a number that was not finite.

    Args:
        entries: From :func:`network_entry`, in any order.

    Raises:
        ValueError: If they are none.
    """
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for number, entry in enumerate(entries):
        network = entry.get(NETWORK)
        if not isinstance(network, Mapping):
            raise ValueError(f"entry {number} is none of a network")
        index, seed, values, table = (network.get(name) for name in ("index", "seed", "values", "rows"))
        whole = isinstance(index, int) and isinstance(seed, int)
        if not whole or not isinstance(values, Mapping) or not isinstance(table, list) or not table:
            raise ValueError(f"entry {number} has no index, seed, values and rows")
        rows = [{"index": index, "seed": seed, **values, **_row(row, number)} for row in table]
        found[index, seed] = rows  # type: ignore[index]
    return [row for network in sorted(found) for row in found[network]]


def paths_of(rows: Iterable[Mapping[str, Any]], entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the paths that are varied, in the order in which configurations have them.

    Args:
        rows: From :func:`rows_of`.
        entries: The same as for it.
    """
    varied = {path for entry in entries for path in entry[NETWORK]["values"]}
    return tuple(dict.fromkeys(name for row in rows for name in row if name in varied))


def _row(row: Any, number: int) -> dict[str, Any]:
    """Return the metrics of an epoch."""
    if not isinstance(row, Mapping) or not isinstance(row.get("epoch"), int) or "diverged" not in row:
        raise ValueError(f"entry {number} has a row without epoch and diverged")
    for name, value in row.items():
        if not isinstance(value, bool | int | float | None):
            raise ValueError(f"entry {number} has {name}={str(value)[:40]!r} in place of a number")
    return {name: math.nan if value is None else value for name, value in row.items()}
