"""What a comparison leaves behind: one record a case, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aihwjax import arguments

if TYPE_CHECKING:
    from rich.table import Table

    from aihwjax.fidelity.evidence import Evidence


@arguments.answering
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
    evidence: Evidence | None = dataclasses.field(default=None, repr=False, compare=False)
    """Both statistics, if they were to be kept; for the report, not in the JSON file."""


class Family(NamedTuple):
    """Outcome of all cases of a family."""

    name: str
    """Name of the family."""
    cases: int
    """Number of records."""
    agree: int
    """How many of them passed."""
    worst: float
    """Largest deviation over what the rule allows; infinite if a case did not run."""
    seconds: float
    """Time of all cases, added up over processes."""


@arguments.answered
def families(records: Sequence[Record]) -> list[Family]:
    """Return the outcome of each family, in the order of the records."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.family, []).append(record)
    return [
        Family(
            name,
            len(group),
            sum(record.passed for record in group),
            max(record.worst for record in group),
            sum(record.seconds for record in group),
        )
        for name, group in groups.items()
    ]


@arguments.answered
def write_json(records: Sequence[Record], path: str | Path) -> None:
    """Write records as a JSON list, one object a record; an infinite ``worst`` becomes ``null``.

    The file appears complete or not at all.
    """
    entries = []
    for record in records:
        fields = [field.name for field in dataclasses.fields(record) if field.name != "evidence"]
        entry = {name: getattr(record, name) for name in fields}
        entry["worst"] = round(record.worst, 4) if math.isfinite(record.worst) else None
        entry["seconds"] = round(record.seconds, 2)
        entries.append(entry)
    write_whole(Path(path), json.dumps(entries, indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears complete or not at all; its folder is made if needed.

    Args:
        path: The file.
        text: Its content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@arguments.answered
def summary(records: Sequence[Record]) -> str:
    """Return one line such as ``"205 of 207 cases agree"``."""
    return f"{sum(record.passed for record in records)} of {len(records)} cases agree"


@arguments.answered
def table(records: Sequence[Record]) -> Table:
    """Return the records as a table for the terminal (print it with ``rich.print``)."""
    from rich.table import Table
    from rich.text import Text

    result = Table("case", "mode", "", "worst", "seconds", "message", title="Golden cases", caption=summary(records))
    result.columns[0].overflow = "fold"
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


@arguments.answered
def family_table(records: Sequence[Record]) -> Table:
    """Return the outcome of each family as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    result = Table("family", "cases", "agree", "worst", "seconds", title="Families", caption=summary(records))
    for column in result.columns[1:]:
        column.justify = "right"
    for family in families(records):
        colour = "green" if family.agree == family.cases else "bold red"
        agree = Text(str(family.agree), colour)
        worst, seconds = f"{family.worst:.2f}", f"{family.seconds:.1f}"
        result.add_row(Text(family.name), str(family.cases), agree, worst, seconds)
    return result
