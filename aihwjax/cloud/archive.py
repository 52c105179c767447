"""The archive of an experiment: a plain tar with its document and the numbers of its model.

``experiment.json`` is the :mod:`document <aihwjax.cloud.document>`; ``parameters/`` is the folder of
an Orbax checkpoint, if the document has a digest of parameters, and ``best/`` that of the best epoch, if it has one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from flax import nnx

from aihwjax import arguments
from aihwjax.chip_results import finite
from aihwjax.cloud import document as documents
from aihwjax.cloud import parameters, tars
from aihwjax.cloud.document import Described, Facts
from aihwjax.cloud.results import best_entry
from aihwjax.cloud.tars import Limits
from aihwjax.errors import ArchiveError, CloudError
from aihwjax.experiments.metrics import EpochMetrics
from aihwjax.experiments.storing import arrays_of, with_arrays

__all__ = ["Limits", "inspect", "pack", "read", "read_best", "unpack", "write_result"]

_LIMITS = Limits()


@arguments.answered
def pack(
    target: str | Path | IO[bytes],
    document: Mapping[str, Any],
    model: nnx.Module | None = None,
    best: tuple[nnx.Module, EpochMetrics] | None = None,
) -> None:
    """Write an archive.

    Args:
        target: A file by name, which appears once it is complete, or an open one.
        document: From :func:`aihwjax.cloud.document.to_document`.
        model: The model whose numbers go with it; ``None``: the initial weights are drawn from the key.
        best: The model of the best epoch and the metrics of this epoch, if one was kept.

    Raises:
        CloudError: If it cannot be written.
        ConfigError: If a number in the document is NaN or infinite.
    """
    with tempfile.TemporaryDirectory(prefix="aihwjax-") as name, _writing():
        folder = Path(name)
        digest = None if model is None else parameters.write(folder / tars.PARAMETERS, arrays_of(model))
        entry = None if digest is None else {"digest": digest}
        whole = {**document, "parameters": entry}
        if best is not None:
            kept = parameters.write(folder / tars.BEST, arrays_of(best[0]))
            whole["best"] = {"epoch": int(best[1]["epoch"]), "digest": kept}
        text = documents.dumps(whole)
        (folder / tars.DOCUMENT).write_text(text, encoding="utf-8")
        if isinstance(target, str | Path):
            _write_file(Path(target), folder)
        else:
            tars.write(target, folder)


@arguments.answered
def write_result(
    path: str | Path | IO[bytes],
    document: Mapping[str, Any],
    model: nnx.Module,
    metrics: Sequence[Mapping[str, Any]],
    best: tuple[nnx.Module, EpochMetrics] | None = None,
) -> None:
    """Write the archive of a finished experiment.

    Args:
        path: A file by name, which appears once it is complete, or an open one.
        document: Of the experiment.
        model: The trained model.
        metrics: Of each epoch, or of each chip; what is not finite is written as null.
        best: The model of the best epoch and the metrics of this epoch, if one was kept.

    Raises:
        CloudError: If it cannot be written.
    """
    pack(path, {**document, "metrics": finite([dict(entry) for entry in metrics])}, model, best)


@arguments.answered
def unpack(path: str | Path, folder: str | Path, limits: Limits = _LIMITS) -> dict[str, Any]:
    """Write the files of an archive into a folder and return its document, unchecked.

    Args:
        path: The archive.
        folder: An empty folder; nothing is written anywhere else.
        limits: What the archive may have.

    Raises:
        ArchiveError: If it is damaged, has members that are not allowed, or goes beyond a limit.
    """
    tars.extract(Path(path), Path(folder), limits)
    return documents.loads((Path(folder) / tars.DOCUMENT).read_bytes())


@arguments.answered
def read(path: str | Path, limits: Limits = _LIMITS) -> Described:
    """Return the experiment of an archive, its model with the numbers in it.

    Args:
        path: The archive.
        limits: What it may have.

    Raises:
        ArchiveError: If it is damaged or its document or parameters are not allowed.
    """
    document, facts, arrays = inspect(path, limits=limits)
    described = documents.built(document, facts)
    if arrays is None:
        return described
    model = with_arrays(described.experiment.model, arrays, "the archive")
    return described._replace(experiment=described.experiment.replace(model=model))


@arguments.answered
def read_best(path: str | Path, limits: Limits = _LIMITS) -> tuple[nnx.Module, EpochMetrics] | None:
    """Return the model of the best epoch of a result and the metrics of this epoch, ``None`` if none was kept.

    Args:
        path: The archive.
        limits: What it may have.

    Raises:
        ArchiveError: If it is damaged or its document or numbers are not allowed.
    """
    with tempfile.TemporaryDirectory(prefix="aihwjax-") as name:
        document = unpack(path, name, limits)
        facts = documents.facts(document)
        entry = document.get("best")
        if entry is None:
            return None
        arrays = parameters.read(Path(name) / tars.BEST, facts.arrays, entry["digest"])
    model = documents.built(document, facts).experiment.model
    return with_arrays(model, arrays, "the archive"), best_entry(document)


@arguments.answered
def inspect(
    path: str | Path, most_bytes: int | None = None, limits: Limits = _LIMITS
) -> tuple[dict[str, Any], Facts, dict[str, np.ndarray] | None]:
    """Check an archive and return its document, what is known of it, and its parameters if it has any.

    Args:
        path: The archive.
        most_bytes: Of the model's numbers; ``None``: no limit.
        limits: What the archive may have.

    Raises:
        ArchiveError: If it is damaged or its document or parameters are not allowed.
    """
    with tempfile.TemporaryDirectory(prefix="aihwjax-") as name:
        folder = Path(name)
        document = unpack(path, folder, limits)
        facts = documents.facts(document)
        if most_bytes is not None and facts.size > most_bytes:
            raise ArchiveError(f"the model has {facts.size} bytes of numbers: give at most {most_bytes}", "model")
        entry = document.get("parameters")
        arrays = None if entry is None else parameters.read(folder / tars.PARAMETERS, facts.arrays, entry["digest"])
        return document, facts, arrays


def _write_file(path: Path, folder: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            tars.write(file, folder)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CloudError(f"cannot write the archive: {error.strerror or error}") from None
