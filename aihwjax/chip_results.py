"""What an inference experiment finds (spec: experiments, section 5.2), of all chips and of each; known without JAX."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypeAlias, TypedDict

import numpy as np
from jaxtyping import Float

from aihwjax import arguments
from aihwjax.scores import OVER_TIME

KIND = "BasicInferencing"
"""Of an experiment whose metrics are those of chips."""


@arguments.answering
class TimeResult(TypedDict):
    """Over all chips, at one time."""

    t_inference: float
    """Seconds after programming."""
    avg_accuracy: NotRequired[float]
    """Mean of the right examples in percent; missing where there are no classes."""
    std_accuracy: NotRequired[float]
    """Standard deviation over the chips, divided by their number, in percent; 0 of a single chip."""
    avg_error: NotRequired[float]
    """Mean of the wrong examples in percent."""
    avg_loss: float
    """Mean of the loss."""


@arguments.answering
class InferenceRuns(TypedDict):
    """The result in the form of the reference."""

    inference_repeat: int
    """Chips that were evaluated."""
    is_partial: bool
    """Whether that is fewer than the experiment has."""
    time_elapsed: float
    """Seconds, with those for data, weights and compiling."""
    inference_results: list[TimeResult]
    """One entry a time."""


@arguments.answering
class ChipResult(TypedDict):
    """Of one chip, at one time; a row of a tidy table."""

    chip: int
    """Its number, from 0."""
    time: float
    """Seconds after programming."""
    accuracy: NotRequired[float]
    """Right examples in percent; missing where there are no classes."""
    loss: float
    """Mean loss over the examples."""


@arguments.answering
class InferenceResult(TypedDict):
    """Result of an inference experiment; all of it has a form in JSON."""

    inference_runs: InferenceRuns
    """Over all chips."""
    chips: list[ChipResult]
    """A row for each chip and time."""


InferenceReport: TypeAlias = Callable[[InferenceResult], bool | None]
"""Called with the result so far, after each chip; ``False`` ends the run."""


def time_grid(last: float, count: int) -> list[float]:
    """Return 0, and then times from 1 second to the last one in equal ratios.

    Args:
        last: Seconds, at least 1; up to 1 there are two times only.
        count: How many, from 2 on.
    """
    if last == 1 or count == 2:
        return [0.0, float(last)]
    ratio = math.log10(last) / (count - 2)
    return [0.0, *(10 ** (ratio * number) for number in range(count - 2)), float(last)]


def chip_rows(
    first: int, times: Sequence[float], values: Float[np.ndarray, "chips times 2"], examples: int, classes: bool
) -> list[ChipResult]:
    """Return the rows of some chips.

    Args:
        first: Number of the first chip.
        times: Seconds after programming.
        values: Number of right examples and mean loss.
        examples: How many there are.
        classes: Whether there are classes, and so an accuracy.
    """
    rows: list[ChipResult] = []
    for number, chip in enumerate(values.tolist(), first):
        for t, (correct, loss) in zip(times, chip, strict=True):
            score: ChipResult = {"chip": number, "time": float(t), "loss": loss}
            if classes:
                score["accuracy"] = 100 * correct / examples
            rows.append(score)
    return rows


def result(rows: Sequence[ChipResult], repeats: int, seconds: float) -> InferenceResult:
    """Return the result of chips.

    Args:
        rows: Of each chip, those of all times one after the other.
        repeats: Chips that the experiment has.
        seconds: Time elapsed.
    """
    times = list(dict.fromkeys(row["time"] for row in rows))
    chips = len(rows) // len(times) if times else 0
    runs: InferenceRuns = {
        "inference_repeat": chips,
        "is_partial": chips < repeats,
        "time_elapsed": seconds,
        "inference_results": [_at(t, [row for row in rows if row["time"] == t]) for t in times],
    }
    return {"inference_runs": runs, "chips": list(rows)}


def _at(t: float, rows: list[ChipResult]) -> TimeResult:
    found: TimeResult = {"t_inference": t, "avg_loss": math.fsum(row["loss"] for row in rows) / len(rows)}
    if all("accuracy" in row for row in rows):
        accuracy = np.asarray([row["accuracy"] for row in rows])
        mean = float(accuracy.mean())
        found |= {"avg_accuracy": mean, "std_accuracy": float(accuracy.std()), "avg_error": 100 - mean}
    return found


def finite(value: Any) -> Any:
    """Return a result, or a part of it, with ``None`` for numbers that are not finite, which JSON does not know.

    Args:
        value: The result.
    """
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def chip_entry(rows: Sequence[ChipResult], seconds: float) -> dict[str, Any]:
    """Return what a job tells of a chip, in the form of an epoch: its number, and scores at the last time.

    Args:
        rows: Of the chip, one a time.
        seconds: How long it took.
    """
    last = rows[-1]
    accuracy = {"accuracy": last["accuracy"] / 100} if "accuracy" in last else {}
    table = [{name: value for name, value in row.items() if name != "chip"} for row in rows]
    entry = {"epoch": last["chip"], **accuracy, "valid_loss": last["loss"], OVER_TIME: table, "time_epoch": seconds}
    return dict(entry)


def rows_of(entries: Iterable[Mapping[str, Any]]) -> list[ChipResult]:
    """Return the rows of chips from what a job told of them; ``None`` is a number that was not finite.

    Args:
        entries: From :func:`chip_entry`, in the order of the chips.

    Raises:
        ValueError: If they are none.
    """
    rows: list[ChipResult] = []
    for number, entry in enumerate(entries):
        table = entry.get(OVER_TIME)
        if entry.get("epoch") != number or not isinstance(table, list) or not table:
            raise ValueError(f"entry {number} is none of a chip")
        for row in table:
            if not isinstance(row, Mapping) or set(row) not in ({"time", "loss"}, {"time", "loss", "accuracy"}):
                raise ValueError(f"entry {number} has a row without time and loss")
            values: Any = {"chip": number, **{name: _real(value, number) for name, value in row.items()}}
            rows.append(values)
    return rows


def _real(value: object, number: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise ValueError(f"entry {number} has {str(value)[:40]!r} in place of a number")
    return math.nan if value is None else float(value)
