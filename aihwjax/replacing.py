"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from aihwjax.errors import CheckpointError


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace the file ``path``; a reader sees the old or the new one, never a part.

    Args:
        path: The file.
        content: Its new content.

    Raises:
        CheckpointError: If it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritten(path, error) from None


def unwritten(path: Path, error: OSError) -> CheckpointError:
    """Return the error of a file that cannot be written.

    Args:
        path: The file.
        error: What went wrong.
    """
    return CheckpointError(f"cannot write {str(path)!r}: {error.strerror or error}")
