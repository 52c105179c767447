"""Models on disk: structure as JSON, numbers as Orbax arrays; nothing in them is ever executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aihwjax import arguments
from aihwjax.errors import AihwjaxError, CheckpointError, ModuleError
from aihwjax.experiments.architecture import Document, from_document, to_document
from aihwjax.experiments.arrays import from_arrays, to_arrays
from aihwjax.experiments.storage import Storage
from aihwjax.optim import take_apart
from aihwjax.random import as_key
from aihwjax.typing import Key

_FORMAT = "aihwjax model, version 2"
_CONFIG, _OPTIMIZER, _KEY = "config ", "optimizer ", "key"


class Saved(NamedTuple):
    """What :func:`load_all` gives."""

    model: nnx.Module
    """The model."""
    optimizer: Any
    """State of the optimizer; ``None`` if none was saved."""
    key: Key | None
    """The key that was saved, if one was."""


@arguments.answered
def save(path: str | Path, model: nnx.Module, *, optimizer: Any = None, key: Key | int | None = None) -> None:
    """Save a model: its structure and all of its numbers, tiles included; and what a training goes on with.

    A model that is already at ``path`` is replaced once the new one is complete.

    Args:
        path: Folder of the model; made if it does not exist.
        model: Any NNX module. One that is made of layers of ``aihwjax.nn`` and the usual ones of Flax is loaded without
            further ado; of others the numbers are saved, and loading them needs a model of the same structure.
        optimizer: State of an optimizer, a pytree; that of :func:`aihwjax.analog_sgd` or of optax.
        key: A key to go on with.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    try:
        structure = to_document(model)
    except ModuleError:
        structure = None
    parts = take_apart(model)
    arrays = {**to_arrays(parts.moving), **_named(_CONFIG, parts.fixed), **_named(_OPTIMIZER, optimizer)}
    kind = None
    if key is not None:
        key = as_key(key)
        kind = str(jax.random.key_impl(key))
        arrays[_KEY] = np.asarray(jax.random.key_data(key))
    document = {"format": _FORMAT, "model": structure, "key": kind}
    storage = Storage(path, keep=1)
    records = storage.numbers()
    storage.write(records[0] + 1 if records else 0, document, arrays)
    storage.close()


@arguments.answered
def load(path: str | Path, model: nnx.Module | None = None) -> nnx.Module:
    """Load a model that :func:`save` wrote.

    Args:
        path: Folder of the model.
        model: A model of the same structure, which stays as it is; needed where layers are not of this library.

    Raises:
        CheckpointError: If there is none, it is damaged, it names layers that are unknown, or it does not fit
            ``model``: names what does not.
    """
    return load_all(path, model).model


@arguments.answered
def load_all(path: str | Path, model: nnx.Module | None = None, optimizer: Any = None) -> Saved:
    """Load a model with the state of its optimizer and the key that :func:`save` was given.

    Args:
        path: Folder of the model.
        model: As for :func:`load`.
        optimizer: A state of the same structure, such as ``optimizer.init(model)``; ``None``: it is not loaded.

    Raises:
        CheckpointError: As :func:`load`, or if there is no state of an optimizer, or another one.
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
    if model is None and document["model"] is None:
        raise CheckpointError(f"{source} has layers of others: give model=, one of the same structure")
    like = built(document["model"], source) if model is None else nnx.clone(model)
    own = {name: array for name, array in arrays.items() if not name.startswith((_CONFIG, _OPTIMIZER, _KEY))}
    _refuse_other_numbers(like, arrays, source)
    state = None
    if optimizer is not None:
        stored = {name.removeprefix(_OPTIMIZER): a for name, a in arrays.items() if name.startswith(_OPTIMIZER)}
        if not stored:
            raise CheckpointError(f"{source} has no state of an optimizer: save it with optimizer=")
        state = from_arrays(optimizer, stored, f"optimizer of the {source}")
    key = None
    if _KEY in arrays:
        key = jax.random.wrap_key_data(jnp.asarray(arrays[_KEY]), impl=document["key"])
    return Saved(with_arrays(like, own, source), state, key)


def _named(prefix: str, tree: Any) -> dict[str, np.ndarray]:
    return {f"{prefix}{name}": array for name, array in to_arrays(tree).items()}


def _refuse_other_numbers(model: nnx.Module, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Refuse a model whose configurations have other numbers than those that were saved."""
    mine = _named(_CONFIG, take_apart(model).fixed)
    theirs = {name: array for name, array in arrays.items() if name.startswith(_CONFIG)}
    odd = [name for name in sorted(set(mine) | set(theirs)) if not _equal(mine.get(name), theirs.get(name))]
    if odd:
        name = odd[0]
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        raise CheckpointError(
            f"{source} has other configurations: {name.removeprefix(_CONFIG)} is {theirs.get(name)}, the model has "
            f"{mine.get(name)}{more}"
        )


def _equal(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    return first is not None and second is not None and np.array_equal(first, second, equal_nan=True)


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
