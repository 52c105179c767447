"""A folder that a sweep writes to as it goes, and from which it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aihwjax.errors import CheckpointError
from aihwjax.experiments.fingerprint import Fingerprint, difference
from aihwjax.experiments.sweeping.table import simple
from aihwjax.replacing import write_bytes

_IDENTITY = "sweep.json"


class Folder:
    """Rows of each call of a sweep in a file of its own, each there as a whole or not at all."""

    def __init__(self, path: str | Path, identity: Fingerprint) -> None:
        """Open or create a folder.

        Args:
            path: The folder.
            identity: What the sweep is.

        Raises:
            CheckpointError: If it cannot be used, or belongs to another sweep.
        """
        self._path = Path(path)
        file = self._path / _IDENTITY
        try:
            self._path.mkdir(parents=True, exist_ok=True)
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
        lines = [json.dumps({name: simple(value) for name, value in row.items()}) + "\n" for row in rows]
        write_bytes(self._file(number), "".join(lines).encode())

    def _file(self, number: int) -> Path:
        return self._path / f"rows-{number:05d}.jsonl"
