"""Rows as columns: for pandas, Arrow, Parquet (extra ``tables``) and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aihwjax.errors import MissingExtraError
from aihwjax.replacing import write_bytes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Columns = dict[str, type]
"""Kind of each column by name: ``bool``, ``int``, ``float`` or ``str``."""


def columns_of(rows: Iterable[Mapping[str, Any]]) -> Columns:
    """Return the columns of rows, in the order in which they appear.

    Args:
        rows: Rows, each with the values that it has.
    """
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    found = {name: kind(each) for name, each in values.items()}
    found.update({name: found.pop(name) for name in ("diverged",) if name in found})
    return found


def kind(values: Iterable[Any]) -> type:
    """Return what values are, ``None`` left aside: all ``bool``, all ``int``, numbers, or text.

    Args:
        values: The values.
    """
    kinds = {type(value.item() if isinstance(value, np.generic) else value) for value in values} - {type(None)}
    for each in (bool, int):
        if kinds == {each}:
            return each
    return float if kinds <= {int, float} else str


def arrow(rows: Sequence[Mapping[str, Any]], columns: Columns) -> pa.Table:
    """Return rows as an Arrow table.

    Args:
        rows: Rows.
        columns: What the table has; a value that a row lacks is null.

    Raises:
        MissingExtraError: If pyarrow is not installed.
    """
    pyarrow = needs("pyarrow")
    types = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    arrays = [pyarrow.array(_column(rows, name, each), types[each]) for name, each in columns.items()]
    return pyarrow.Table.from_arrays(arrays, names=list(columns))


def pandas(rows: Sequence[Mapping[str, Any]], columns: Columns) -> pd.DataFrame:
    """Return rows as a pandas data frame; whole numbers that some rows lack have its type ``Int64``.

    Args:
        rows: Rows.
        columns: What the frame has.

    Raises:
        MissingExtraError: If pandas is not installed.
    """
    frames = needs("pandas")
    found = {}
    for name, each in columns.items():
        values = _column(rows, name, each)
        absent = any(value is None for value in values)
        types = {bool: "boolean" if absent else bool, int: "Int64" if absent else "int64", float: "float64", str: None}
        found[name] = frames.Series(values, dtype=types[each])
    return frames.DataFrame(found)


def write_parquet(path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Columns) -> None:
    """Write rows as a Parquet file, which is there as a whole or not at all.

    Args:
        path: The file.
        rows: Rows.
        columns: What it has.

    Raises:
        MissingExtraError: If pyarrow is not installed.
        CheckpointError: If it cannot be written.
    """
    table = arrow(rows, columns)
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    write_bytes(path, buffer.getvalue())


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Columns) -> None:
    """Write rows as a CSV file with a line of names; numbers are written in full.

    Args:
        path: The file.
        rows: Rows.
        columns: What it has.

    Raises:
        CheckpointError: If it cannot be written.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(columns)
    writer.writerows(zip(*(_column(rows, name, each) for name, each in columns.items()), strict=True))
    write_bytes(path, buffer.getvalue().encode())


def needs(name: str) -> Any:
    """Return a module of the extra ``tables``.

    Args:
        name: Of the module.

    Raises:
        MissingExtraError: If it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtraError(f"a table for {name} needs: pip install 'aihwjax[tables]'") from None


def _column(rows: Sequence[Mapping[str, Any]], name: str, each: type) -> list[Any]:
    values = [row.get(name) for row in rows]
    return [None if value is None else each(value) for value in values]
