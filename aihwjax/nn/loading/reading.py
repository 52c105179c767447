"""Arrays by name, from a file or from memory."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from aihwjax.errors import ConfigError, DataError, MissingExtraError


def read(source: str | Path | Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return arrays by name.

    Args:
        source: A file ``.safetensors`` or ``.npz``, a folder of such files, or arrays by name.

    Raises:
        DataError: If a file is missing, damaged, or of another kind, or a value is no array of real numbers.
        MissingExtraError: If safetensors is not installed.
        ConfigError: If ``source`` is something else.
    """
    if isinstance(source, Mapping):
        return {str(name): _numbers(str(name), value) for name, value in source.items()}
    if not isinstance(source, str | Path):
        raise ConfigError(f"source={type(source).__name__} is not allowed: give a path, or a dict of arrays")
    path = Path(source)
    files = sorted([*path.glob("*.safetensors"), *path.glob("*.npz")]) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        kind = "has no .safetensors or .npz file" if path.is_dir() else "does not exist"
        raise DataError(f"{str(path)!r} {kind}")
    found: dict[str, np.ndarray] = {}
    for file in files:
        for name, array in _read_file(file).items():
            if name in found:
                raise DataError(f"{name!r} is in several files of {str(path)!r}")
            found[name] = _numbers(f"{name} in {str(file)!r}", array)
    return found


def _read_file(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".safetensors":
        try:
            library = importlib.import_module("safetensors.numpy")
        except ImportError:
            raise MissingExtraError(f"{str(path)!r} needs safetensors: pip install 'aihwjax[safetensors]'") from None
        try:
            return library.load_file(path)
        except Exception as error:  # the library has errors of its own
            raise _damaged(path, error) from None
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _damaged(path, error) from None
    raise DataError(f"{str(path)!r} is not known: give a file .safetensors or .npz, or a dict of arrays")


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())[:200]}")


def _numbers(name: str, value: Any) -> np.ndarray:
    """Return an array of real numbers in the host's memory."""
    if hasattr(value, "detach"):  # a tensor of torch
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    if not real and array.dtype != bool:
        raise DataError(f"{name} has type {array.dtype}: give real numbers")
    return array
