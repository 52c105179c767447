"""What a document says of the numbers beside it and of a finished run: digests, metrics, the best epoch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from aihwjax import arguments
from aihwjax.chip_results import KIND, ChipResult, rows_of
from aihwjax.cloud.plain import short
from aihwjax.errors import ArchiveError
from aihwjax.experiments.metrics import EpochMetrics
from aihwjax.scores import STANDARD

_METRICS = tuple(name for name in STANDARD if name != "accuracy")  # of a regression there is none


def check_results(document: Mapping[str, Any]) -> None:
    """Refuse a document whose entries ``parameters``, ``metrics`` or ``best`` are not allowed.

    Args:
        document: The document.

    Raises:
        ArchiveError: If one isn't; has its path.
    """
    parameters = document.get("parameters")
    if parameters is not None:
        _check_digest(parameters, "parameters", ("digest",))
    if "metrics" in document:
        (chips if document["kind"] == KIND else metrics)(document)
    best = document.get("best")
    if best is not None:
        _check_digest(best, "best", ("digest", "epoch"))
        best_entry(document)


@arguments.answered
def metrics(document: Mapping[str, Any]) -> list[EpochMetrics]:
    """Return the metrics of a result; a number that was not finite is NaN.

    Args:
        document: With the entry ``metrics``.

    Raises:
        ArchiveError: If they are none.
    """
    entries = document.get("metrics")
    if not isinstance(entries, list):
        raise ArchiveError("metrics is missing: the document is no result", "metrics")
    return [_metrics(entry, f"metrics[{i}]") for i, entry in enumerate(entries)]


def chips(document: Mapping[str, Any]) -> list[ChipResult]:
    """Return the rows of the chips of an inference experiment.

    Args:
        document: With the entry ``metrics``.

    Raises:
        ArchiveError: If they are none.
    """
    entries = document.get("metrics")
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ArchiveError("metrics is missing: the document is no result", "metrics")
    try:
        return rows_of(entries)
    except ValueError as error:
        raise ArchiveError(f"metrics is not allowed: {error}", "metrics") from None


def best_entry(document: Mapping[str, Any]) -> EpochMetrics:
    """Return the metrics of the epoch that was kept as the best.

    Args:
        document: With the entries ``best`` and ``metrics``.

    Raises:
        ArchiveError: If there is no such epoch.
    """
    epoch = document["best"].get("epoch")
    found = [entry for entry in metrics(document) if entry["epoch"] == epoch]
    if isinstance(epoch, bool) or not isinstance(epoch, int) or not found:
        raise ArchiveError(f"best.epoch={short(epoch)} is not allowed: give an epoch of the metrics", "best.epoch")
    return found[-1]


def _check_digest(entry: Any, field: str, names: tuple[str, ...]) -> None:
    digest = entry.get("digest") if isinstance(entry, Mapping) else None
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{32}", digest) or set(entry) != set(names):
        text = f"give null or a table with {' and '.join(names)}, of which the digest has 32 hexadecimal digits"
        raise ArchiveError(f"{field}={short(entry)} is not allowed: {text}", field)


def _metrics(entry: Any, path: str) -> EpochMetrics:
    known = isinstance(entry, Mapping) and isinstance(entry.get("epoch"), int) and set(entry) >= set(_METRICS)
    if not known or not all(isinstance(name, str) and name for name in entry):
        raise ArchiveError(f"{path} is not allowed: give {', '.join(STANDARD)}", path)
    for name, value in entry.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ArchiveError(f"{path}.{name}={short(value)} is not allowed: give a number or null", f"{path}.{name}")
    numbers = {name: math.nan if value is None else float(value) for name, value in entry.items() if name != "epoch"}
    return EpochMetrics(epoch=entry["epoch"], **numbers)  # type: ignore[typeddict-item]
