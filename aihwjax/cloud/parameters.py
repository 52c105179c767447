"""The numbers of a model as a folder that another machine may have written.

What is stored is compared with what the model needs before Orbax reads it: names, shapes and
types in the description and in each stored array, whose pieces may not be larger than itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aihwjax.errors import ArchiveError, CheckpointError
from aihwjax.experiments.arrays import ArraySpec, digest
from aihwjax.experiments.storage import Storage

_FIELD = "parameters"
_RECORD = 0
_MOST_META = 8 << 20
_CODECS = (None, "zstd", "blosc", "zlib", "gzip")


def write(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write arrays into an empty folder and return their digest.

    Args:
        folder: Where; made if it does not exist.
        arrays: From :func:`aihwjax.experiments.storing.arrays_of`.

    Raises:
        CheckpointError: If it cannot be written.
    """
    storage = Storage(folder, keep=1)
    try:
        storage.write(_RECORD, {}, arrays)
    finally:
        storage.close()
    return digest(arrays)


def read(folder: Path, wanted: Mapping[str, ArraySpec], wanted_digest: str) -> dict[str, np.ndarray]:
    """Return the arrays of a folder.

    Args:
        folder: Where :func:`write` wrote them, or anything.
        wanted: Names, shapes and types that the model needs.
        wanted_digest: Their digest, from the document.

    Raises:
        ArchiveError: If they are damaged, others, or not finite.
    """
    _check_description(folder / str(_RECORD) / "meta" / "metadata", wanted, wanted_digest)
    _check_stored(folder / str(_RECORD) / "arrays", wanted)
    try:
        storage = Storage(folder, keep=1, read_only=True)
        try:
            arrays = storage.arrays(_RECORD)
        finally:
            storage.close()
    except CheckpointError as error:
        reason = str(error).replace(str(folder), _FIELD)  # not where it was unpacked
        raise ArchiveError(f"the parameters cannot be read: {reason}", _FIELD) from None
    for name, array in arrays.items():
        if _is_float(array.dtype) and not np.isfinite(array.astype(np.float32, copy=False)).all():
            raise ArchiveError(f"{_FIELD} {name} has NaN or infinity: give finite numbers", _FIELD)
    return arrays


def _check_description(path: Path, wanted: Mapping[str, ArraySpec], wanted_digest: str) -> None:
    try:
        if path.stat().st_size > _MOST_META:
            raise ArchiveError(f"{_FIELD} have a description of more than {_MOST_META} bytes", _FIELD)
        meta = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise ArchiveError(f"{_FIELD} are damaged: they have no description", _FIELD) from None
    found = meta.get("arrays") if isinstance(meta, dict) else None
    if not isinstance(found, dict) or not isinstance(meta.get("document"), dict):
        raise ArchiveError(f"{_FIELD} are damaged: their description is incomplete", _FIELD)
    if set(found) != set(wanted):
        odd = sorted(set(found) ^ set(wanted))[0]
        raise ArchiveError(f"{_FIELD} do not fit the model: {odd} is missing or has no place", _FIELD)
    for name, spec in wanted.items():
        if found[name] != spec:
            raise ArchiveError(
                f"{_FIELD} do not fit the model: {name} is {found[name]}, the model has {spec}", f"{_FIELD}"
            )
    if meta.get("digest") != wanted_digest:
        raise ArchiveError(f"{_FIELD} have another digest than the document says", _FIELD)


def _check_stored(folder: Path, wanted: Mapping[str, ArraySpec]) -> None:
    """Compare the arrays that are really stored with the description, piece sizes included."""
    import tensorstore

    where = {"driver": "ocdbt", "base": f"file://{folder.as_posix()}/"}
    try:
        store = tensorstore.KvStore.open(where).result()
        for name, spec in wanted.items():
            if math.prod(spec["shape"]):
                _check_array(name, json.loads(store.read(f"{name}/.zarray").result().value), spec)
    except ArchiveError:
        raise
    except Exception as error:  # of tensorstore, or of what the entries are
        reason = str(error).replace(str(folder), _FIELD)
        raise ArchiveError(f"{_FIELD} are damaged: {reason}", _FIELD) from None


def _check_array(name: str, stored: Any, spec: ArraySpec) -> None:
    shape, pieces = stored["shape"], stored["chunks"]
    if shape != spec["shape"] or _dtype(stored["dtype"]) != spec["dtype"]:
        raise ArchiveError(f"{_FIELD} do not fit the model: {name} is stored as {stored['dtype']} {shape}", _FIELD)
    most = [max(size, 1) for size in shape]
    compressor = stored.get("compressor")
    codec = None if compressor is None else compressor["id"]
    fits = len(pieces) == len(most) and all(1 <= piece <= size for piece, size in zip(pieces, most, strict=True))
    if not fits or codec not in _CODECS or stored.get("filters"):
        raise ArchiveError(f"{_FIELD} {name} is stored in pieces of {pieces} by {codec}, which is not allowed", _FIELD)


def _dtype(name: str) -> str:
    import ml_dtypes

    return str(np.dtype(getattr(ml_dtypes, name, name)))


def _is_float(dtype: np.dtype[Any]) -> bool:
    return np.issubdtype(dtype, np.floating) or dtype.name.startswith(("bfloat16", "float8"))
