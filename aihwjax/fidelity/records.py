"""What a comparison leaves behind: one record a case, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Record:
    """Outcome of one golden case."""

    name: str
    """Family and name, ``"update/softbounds"``."""
    family: str
    """Name of the family."""
    passed: bool
    """Whether all records of the case agree with the reference."""
    worst: float
    """Largest deviation over what the rule allows; 1 is the limit; infinite if the case did not run."""
    seconds: float
    """Time for simulation and comparison, with compilation."""
    mode: str | None = None
    """Update mode, ``"aggregated"`` or ``"sequential"``; ``None`` if the case has no pulsed update."""
    message: str = ""
    """What disagrees, or why the case did not run; empty if it passed."""


def write_json(records: Sequence[Record], path: str | Path) -> None:
    """Write records as a JSON list, one object a record; an infinite ``worst`` becomes ``null``.

    The file appears complete or not at all.
    """
    path = Path(path)
    entries = []
    for record in records:
        entry = dataclasses.asdict(record)
        entry["worst"] = round(record.worst, 4) if math.isfinite(record.worst) else None
        entry["seconds"] = round(record.seconds, 2)
        entries.append(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(entries, file, indent=1)
            file.write("\n")
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def summary(records: Sequence[Record]) -> str:
    """Return one line such as ``"205 of 207 cases agree"``."""
    return f"{sum(record.passed for record in records)} of {len(records)} cases agree"


def table(records: Sequence[Record]) -> Table:
    """Return the records as a table for the terminal (print it with ``rich.print``)."""
    from rich.table import Table
    from rich.text import Text

    result = Table("case", "mode", "", "worst", "seconds", "message", title="Golden cases", caption=summary(records))
    for column in (3, 4):
        result.columns[column].justify = "right"
    for record in records:
        verdict = Text("pass", "green") if record.passed else Text("FAIL", "bold red")
        result.add_row(
            Text(record.name),
            record.mode or "",
            verdict,
            f"{record.worst:.2f}",
            f"{record.seconds:.1f}",
            Text(record.message),
        )
    return result
