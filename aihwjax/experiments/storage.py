"""A folder of numbered records of arrays and a JSON document, written atomically by Orbax."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aihwjax.errors import CheckpointError
from aihwjax.experiments.arrays import digest, specs

if TYPE_CHECKING:
    import orbax.checkpoint as ocp


class Storage:
    """Records of named arrays and a JSON document, each with a number.

    A record appears as a whole or not at all; every array is checked against a hash when read.
    """

    def __init__(self, folder: str | Path, keep: int | None, *, read_only: bool = False) -> None:
        """Open a folder, and make it if it does not exist.

        Args:
            folder: Where the records are.
            keep: How many of the latest records stay; ``None``: all.
            read_only: Change nothing in the folder.

        Raises:
            CheckpointError: If the folder cannot be written.
        """
        self.folder = Path(folder).absolute()
        if not read_only:
            writable(self.folder)
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)
        with _one_line(f"cannot open the checkpoints in {str(self.folder)!r}"):
            options = ocp.CheckpointManagerOptions(
                max_to_keep=None if read_only else keep,
                enable_async_checkpointing=False,
                create=not read_only,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            )
            self._manager: ocp.CheckpointManager = ocp.CheckpointManager(self.folder, options=options)

    def numbers(self) -> list[int]:
        """Return the numbers of the complete records, latest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def write(self, number: int, document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Write a record.

        Args:
            number: Its number; later ones are kept longer.
            document: JSON values.
            arrays: Arrays by name.

        Raises:
            CheckpointError: If it cannot be written (a full disk, say).
        """
        import orbax.checkpoint as ocp

        meta = {"document": document, "arrays": specs(arrays), "digest": digest(arrays)}
        stored = {name: array for name, array in arrays.items() if array.size}
        with _one_line(f"cannot write checkpoint {number} into {str(self.folder)!r}"):
            self._manager.save(
                number,
                args=ocp.args.Composite(meta=ocp.args.JsonSave(meta), arrays=ocp.args.StandardSave(stored)),
                force=True,
            )

    def document(self, number: int) -> dict[str, Any]:
        """Return the JSON document of a record.

        Raises:
            CheckpointError: If it is damaged.
        """
        return self._meta(number)["document"]

    def arrays(self, number: int) -> dict[str, np.ndarray]:
        """Return the arrays of a record.

        Raises:
            CheckpointError: If they are damaged.
        """
        import orbax.checkpoint as ocp

        meta = self._meta(number)
        with _one_line(self._damaged(number)):
            empty = {name: np.zeros(spec["shape"], _dtype(spec["dtype"])) for name, spec in meta["arrays"].items()}
            wanted = {name: array for name, array in empty.items() if array.size}
            restored = self._manager.restore(number, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(wanted)))
            arrays = {name: np.asarray(restored["arrays"].get(name, array)) for name, array in empty.items()}
        if digest(arrays) != meta["digest"]:
            raise CheckpointError(f"{self._damaged(number)}: its arrays differ from what was written")
        return arrays

    def remove(self, number: int) -> None:
        """Remove a record."""
        with _one_line(f"cannot remove checkpoint {number} from {str(self.folder)!r}"):
            self._manager.delete(number)

    def close(self) -> None:
        """Release the folder."""
        self._manager.close()

    def _meta(self, number: int) -> dict[str, Any]:
        path = self.folder / str(number) / "meta" / "metadata"
        with _one_line(self._damaged(number)):
            meta = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(meta, dict) or not {"document", "arrays", "digest"} <= meta.keys():
            raise CheckpointError(f"{self._damaged(number)}: its description is incomplete")
        return meta

    def _damaged(self, number: int) -> str:
        return f"checkpoint {str(self.folder / str(number))!r} is damaged"


def holds_records(folder: Path) -> bool:
    """Whether a folder has records, complete or not."""
    return folder.is_dir() and any(entry.name.isdecimal() for entry in folder.iterdir())


def writable(folder: Path) -> None:
    """Make sure that a folder exists and can be written.

    Raises:
        CheckpointError: If it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CheckpointError(f"cannot write into the folder {str(folder)!r}: {error.strerror or error}") from None


def _dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name, name))


@contextlib.contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn any failure of the storage library or the disk into one line."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= 200 else reason[:197] + "..."
        raise CheckpointError(f"{what}: {reason}") from error
