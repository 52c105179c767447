"""Models on disk: structure as JSON, numbers as Orbax arrays; nothing in them is ever executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax import nnx

from aihwjax.errors import AihwjaxError, CheckpointError
from aihwjax.experiments.architecture import Document, from_document, to_document
from aihwjax.experiments.arrays import from_arrays, to_arrays
from aihwjax.experiments.storage import Storage
from aihwjax.optim import take_apart

_FORMAT = "aihwjax model, version 1"


def save(path: str | Path, model: nnx.Module) -> None:
    """Save a model: its structure and all of its numbers, tiles included.

    A model that is already at ``path`` is replaced once the new one is complete.

    Args:
        path: Folder of the model; made if it does not exist.
        model: A sequence of layers of ``aihwjax.nn``.

    Raises:
        ModuleError: If a layer is not one that can be saved.
        CheckpointError: If the folder cannot be written.
    """
    document = {"format": _FORMAT, "model": to_document(model)}
    storage = Storage(path, keep=1)
    records = storage.numbers()
    storage.write(records[0] + 1 if records else 0, document, arrays_of(model))
    storage.close()


def load(path: str | Path) -> nnx.Module:
    """Load a model that :func:`save` wrote.

    Args:
        path: Folder of the model.

    Raises:
        CheckpointError: If there is none, it is damaged, or it names layers that are unknown.
    """
    missing = CheckpointError(f"path={str(path)!r} has no model: give a folder that was written by save")
    if not Path(path).is_dir():
        raise missing
    storage = Storage(path, keep=1, read_only=True)
    records = storage.numbers()
    if not records:
        raise missing
    document, arrays = storage.document(records[0]), storage.arrays(records[0])
    storage.close()
    if document.get("format") != _FORMAT or "model" not in document:
        raise CheckpointError(f"path={str(path)!r} has no model: its format is {document.get('format')!r}")
    source = f"model in {str(path)!r}"
    return with_arrays(built(document["model"], source), arrays, source)


def built(document: Document, source: str) -> nnx.Module:
    """Return a new model of a structure.

    Args:
        document: From :func:`~aihwjax.experiments.architecture.to_document`.
        source: Where it comes from, for errors.

    Raises:
        CheckpointError: If it names layers that are unknown, or arguments that are not allowed.
    """
    try:
        return from_document(document, nnx.Rngs(0))
    except AihwjaxError as error:
        raise CheckpointError(f"{source} cannot be built: {error}") from None


def arrays_of(model: nnx.Module) -> dict[str, np.ndarray]:
    """Return all numbers of a model that training changes, by their path.

    Args:
        model: The model.
    """
    return to_arrays(take_apart(model).moving)


def with_arrays(model: nnx.Module, arrays: Mapping[str, np.ndarray], source: str) -> nnx.Module:
    """Return a model of the same structure with other numbers.

    Args:
        model: The model.
        arrays: From :func:`arrays_of`.
        source: Where they come from, for errors.

    Raises:
        CheckpointError: If names, shapes or types differ from the model's.
    """
    graph, moving, fixed = take_apart(model)
    return nnx.merge(graph, from_arrays(moving, arrays, source), fixed)
