"""Tables in CSV files: named columns, and one line on what is wrong with them."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from aihwjax.errors import DataError, nearest


def read(path: str | Path, needed: Sequence[str], optional: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns of a file as text, by name.

    The first line has the names. Blank lines and blanks around entries do not count.

    Args:
        path: The file, comma-separated.
        needed: Columns that have to be there.
        optional: Columns that may be there.

    Raises:
        DataError: If there is no such file, a column is missing or unknown, or a row has too few entries or too many.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            lines = [[entry.strip() for entry in row] for row in csv.reader(file) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text"
        raise DataError(f"{path} cannot be read: {reason}") from None
    names = lines[0] if lines else []
    check_names(str(path), names, needed, optional)
    for line, row in enumerate(lines[1:]):
        if len(row) != len(names):
            raise DataError(f"{path} has {len(row)} entries in row {line + 1}: give {len(names)}, one a column")
    return {name: [row[place] for row in lines[1:]] for place, name in enumerate(names)}


def check_names(source: str, names: Collection[str], needed: Sequence[str], optional: Sequence[str]) -> None:
    """Refuse columns that are unknown, missing or there twice.

    Args:
        source: What the message calls the table.
        names: The columns that are there.
        needed: Columns that have to be there.
        optional: Columns that may be there.

    Raises:
        DataError: If one is not allowed; names the nearest that is.
    """
    allowed = (*needed, *optional)
    for name in names:
        if name not in allowed or list(names).count(name) > 1:
            hint = nearest(str(name), allowed) if name not in allowed else "; it is there twice"
            raise DataError(f"{source} has a column {name!r} that is not allowed: give {', '.join(allowed)}{hint}")
    for name in needed:
        if name not in names:
            raise DataError(f"{source} has no column {name!r}: give a first line with {', '.join(allowed)}")


def numbers(path: str | Path, name: str, entries: Sequence[str]) -> np.ndarray:
    """Return a column of numbers, ``(rows,)``.

    Args:
        path: The file, for the message.
        name: The column.
        entries: Its entries.

    Raises:
        DataError: If an entry is no number; names the row.
    """
    values = np.zeros(len(entries))
    for line, entry in enumerate(entries):
        try:
            values[line] = float(entry)
        except ValueError:
            where = f"row {line + 1} of column {name!r}"
            raise DataError(f"{path} has {entry!r} in {where}: give a number") from None
    return values
