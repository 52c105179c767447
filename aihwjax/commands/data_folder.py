"""The folder of a data set's files, as commands take it."""

from __future__ import annotations

from pathlib import Path

from aihwjax.errors import DataError


def check_data_folder(data: Path | None) -> None:
    """Refuse a folder that is not there; else a download would make one that was mistyped.

    Args:
        data: What was given as ``--data``; ``None``: nothing.

    Raises:
        DataError: If it is no folder.
    """
    if data is not None and not data.is_dir():
        raise DataError(f"--data={str(data)!r} is no folder: give the one of the data set's files")
