"""A folder that a sweep writes to as it goes, and from which it goes on."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from aihwjax.errors import CheckpointError
from aihwjax.experiments.fingerprint import Fingerprint, difference
from aihwjax.experiments.sweeping.table import simple
from aihwjax.experiments.sweeping.tables import Columns, needs, write_parquet
from aihwjax.replacing import write_bytes

_IDENTITY = "sweep.json"
_TOLD = "rows"


class OnTheWay(NamedTuple):
    """A call that was not done."""

    rows: list[dict[str, Any]]
    """Its rows so far."""
    done: int
    """Epochs that were done."""
    arrays: dict[str, np.ndarray]
    """State of its networks, by name."""


class Folder:
    """Rows of each call of a sweep in a file of its own, each there as a whole or not at all."""

    def __init__(self, path: str | Path, identity: Fingerprint, columns: Columns | None = None) -> None:
        """Open or create a folder.

        Args:
            path: The folder.
            identity: What the sweep is.
            columns: Of Parquet files beside the rows; ``None``: there are none.

        Raises:
            CheckpointError: If it cannot be used, or belongs to another sweep.
            MissingExtraError: If Parquet is asked for and pyarrow is not installed.
        """
        self._path, self._columns = Path(path), columns
        if columns is not None:
            needs("pyarrow")
        file = self._path / _IDENTITY
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            if columns is not None:
                (self._path / "parts").mkdir(exist_ok=True)
            found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "sweep.json is damaged"
            raise CheckpointError(f"cannot use the folder {str(path)!r}: {reason}") from None
        wanted = json.loads(json.dumps(identity))
        if found is None:
            write_bytes(file, json.dumps(wanted, indent=1).encode())
        elif found != wanted:
            lines = "\n  ".join(difference(found, wanted)[:5])
            raise CheckpointError(f"{str(path)!r} is the folder of another sweep:\n  {lines}")

    def rows(self, number: int) -> list[dict[str, Any]] | None:
        """Return the rows of a call that was done before, ``None`` if it was not.

        Args:
            number: Of the call.

        Raises:
            CheckpointError: If the file is damaged.
        """
        file = self._file(number)
        if not file.exists():
            return None
        try:
            return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError) as error:
            reason = f"{error}; delete it to train its networks again"
            raise CheckpointError(f"cannot read {str(file)!r}: {reason}") from None

    def write(self, number: int, rows: list[dict[str, Any]]) -> None:
        """Write the rows of a call.

        Args:
            number: Of the call.
            rows: Its rows.

        Raises:
            CheckpointError: If they cannot be written.
        """
        if self._columns is not None:  # before what says that the call is done
            write_parquet(self._path / "parts" / f"part-{number:05d}.parquet", rows, self._columns)
        write_bytes(self._file(number), _lines(rows).encode())
        self._state(number).unlink(missing_ok=True)

    def write_table(self, rows: list[dict[str, Any]]) -> None:
        """Write all rows as ``table.parquet``, if Parquet is asked for.

        Args:
            rows: In order.

        Raises:
            CheckpointError: If they cannot be written.
        """
        if self._columns is not None:
            write_parquet(self._path / "table.parquet", rows, self._columns)

    def keep(self, number: int, kept: OnTheWay) -> None:
        """Keep a call that is not done yet.

        Args:
            number: Of the call.
            kept: How far it is.

        Raises:
            CheckpointError: If it cannot be written.
        """
        buffer = io.BytesIO()
        told = np.frombuffer(json.dumps([kept.done, _lines(kept.rows)]).encode(), np.uint8)
        np.savez(buffer, allow_pickle=False, **{_TOLD: told, **kept.arrays})
        write_bytes(self._state(number), buffer.getvalue())

    def kept(self, number: int) -> tuple[OnTheWay, str] | None:
        """Return how far a call was and where that is kept, ``None`` if it was not on its way.

        Args:
            number: Of the call.

        Raises:
            CheckpointError: If the file is damaged.
        """
        file = self._state(number)
        if not file.exists():
            return None
        try:
            with np.load(file, allow_pickle=False) as content:
                arrays = dict(content)
            done, lines = json.loads(arrays.pop(_TOLD).tobytes())
            return OnTheWay([json.loads(line) for line in lines.splitlines()], done, arrays), repr(str(file))
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            reason = f"{error}; delete it to train its networks again"
            raise CheckpointError(f"cannot read {str(file)!r}: {reason}") from None

    def _file(self, number: int) -> Path:
        return self._path / f"rows-{number:05d}.jsonl"

    def _state(self, number: int) -> Path:
        return self._path / f"state-{number:05d}.npz"


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps({name: simple(value) for name, value in row.items()}) + "\n" for row in rows)
