"""What a composer answers, checked: fields, metrics, chips and the table of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aihwjax import chip_results, sweep_results
from aihwjax.errors import InvalidResponseFieldError
from aihwjax.scores import STANDARD, own_names

if TYPE_CHECKING:
    from aihwjax.chip_results import InferenceResult
    from aihwjax.experiments.metrics import EpochMetrics
    from aihwjax.experiments.sweeping import SweepTable


def field(answer: Any, name: str, kind: type) -> Any:
    """Return a field of an answer.

    Args:
        answer: The answer, or anything.
        name: Name of the field.
        kind: What it has to be.

    Raises:
        InvalidResponseFieldError: If it is not there, or something else.
    """
    value = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidResponseFieldError(
            f"the composer's answer has {name}={str(value)[:60]!r}: {kind.__name__} expected"
        )
    return value


def metrics(entry: Any) -> EpochMetrics:
    """Return metrics of an answer; ``null`` is a number that was not finite.

    Args:
        entry: Of an epoch, a chip or a network.

    Raises:
        InvalidResponseFieldError: If they are none.
    """
    found: Any = {"epoch": field(entry, "epoch", int)}
    for name in (*STANDARD[1:-1], *own_names([entry]), STANDARD[-1]):
        if name in ("accuracy", "train_loss") and name not in entry:  # of a regression, of chips
            continue
        value = entry.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise InvalidResponseFieldError(f"the composer's answer has {name}={str(value)[:60]!r}: number expected")
        found[name] = math.nan if value is None else float(value)
    return found


def chips(entries: list[Any], count: int) -> InferenceResult:
    """Return the result of an inference experiment.

    Args:
        entries: Of its chips.
        count: Chips that it has.

    Raises:
        InvalidResponseFieldError: If they are none.
    """
    try:
        rows = chip_results.rows_of(entries)
    except (ValueError, AttributeError) as error:
        raise InvalidResponseFieldError(f"the composer's answer is no result of chips: {error}") from None
    seconds = sum(float(entry.get("time_epoch") or 0) for entry in entries)
    return chip_results.result(rows, count, seconds)


def table(entries: list[Any]) -> SweepTable:
    """Return the table of a sweep.

    Args:
        entries: Of its networks.

    Raises:
        InvalidResponseFieldError: If they are none.
    """
    from aihwjax.experiments.sweeping import SweepTable

    try:
        rows = sweep_results.rows_of(entries)
    except (ValueError, AttributeError) as error:
        raise InvalidResponseFieldError(f"the composer's answer is no table of a sweep: {error}") from None
    return SweepTable(rows, sweep_results.paths_of(rows, entries))
