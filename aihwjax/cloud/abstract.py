"""A model that is described but not built: sizes and shapes, without any of its numbers.

A document may ask for anything, so its size is known before something is allocated: layers and
tiles are counted in the document itself, and the rest is traced by :func:`flax.nnx.eval_shape`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from aihwjax import config as configs
from aihwjax.errors import AihwjaxError, ArchiveError
from aihwjax.experiments.architecture import from_document, registry, takes
from aihwjax.experiments.arrays import ArraySpec
from aihwjax.optim import take_apart
from aihwjax.tile.config import TileConfig

MOST_LAYERS = 1_000
"""Layers of a model."""
MOST_TILES = 4_096
"""Tiles of a model; each is a few arrays by itself."""
MOST_LEVELS = 16
"""Sequences inside sequences."""
_MOST_GATES = 4
"""Of a recurrent cell."""


def build(document: Mapping[str, Any], key: Any) -> nnx.Module:
    """Return the model of a document with shapes in place of numbers.

    Args:
        document: From :func:`aihwjax.experiments.architecture.to_document`.
        key: Whole number or JAX key.

    Raises:
        ArchiveError: If a layer, argument or configuration is not allowed, or the model is out of all
            proportion.
    """
    check_counts(document)
    try:
        return nnx.eval_shape(lambda: from_document(document, nnx.Rngs(key)))
    except Exception as error:  # constructors of other libraries are given anything at all
        raise _refused(document, key, error) from None


def specs(model: nnx.Module) -> dict[str, ArraySpec]:
    """Return shape and type of each array of a model that :func:`build` returned, by its path.

    Args:
        model: The model.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(take_apart(model).moving)
    found = {}
    for path, leaf in leaves:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        found[jax.tree_util.keystr(path)] = ArraySpec(shape=list(leaf.shape), dtype=str(leaf.dtype))
    return found


def size(arrays: Mapping[str, ArraySpec]) -> int:
    """Return the number of bytes of arrays.

    Args:
        arrays: From :func:`specs`.
    """
    import ml_dtypes

    return sum(
        math.prod(array["shape"]) * np.dtype(getattr(ml_dtypes, array["dtype"], array["dtype"])).itemsize
        for array in arrays.values()
    )


def check_counts(document: Mapping[str, Any]) -> None:
    """Refuse a document with more layers, levels or tiles than any model has.

    Args:
        document: Of a model.

    Raises:
        ArchiveError: If there are too many, or a layer is no table.
    """
    tiles = 0
    for layers, (path, level, layer) in enumerate(_walk(document, "model", 0), 1):
        if level > MOST_LEVELS:
            raise ArchiveError(f"{path} is too deep: give at most {MOST_LEVELS} sequences inside each other", path)
        if layers > MOST_LAYERS:
            raise ArchiveError(f"the model has too many layers: give at most {MOST_LAYERS}", "model")
        tiles += _tiles(layer, path)
        if tiles > MOST_TILES:
            raise ArchiveError(f"{path} makes more than {MOST_TILES} tiles: give fewer features or larger tiles", path)


def _walk(layer: Any, path: str, level: int) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    if not isinstance(layer, Mapping):
        raise ArchiveError(f"{path} is not allowed: give a table with the entry 'class'", path)
    yield path, level, layer
    entries = layer.get("layers")
    for i, entry in enumerate(entries if isinstance(entries, list) else ()):
        yield from _walk(entry, f"{path}[{i}]", level + 1)


def _tiles(layer: Mapping[str, Any], path: str) -> int:
    """Return the number of tiles of a layer, 0 if it says nothing that makes sense."""
    kind = registry().get(str(layer.get("class")))
    if kind is None or not takes(kind, "config"):
        return 0
    config = layer.get("config")
    try:
        tile = configs.from_dict(config, path=f"{path}.config") if isinstance(config, Mapping) else TileConfig()
    except AihwjaxError as error:
        raise ArchiveError(str(error), f"{path}.config") from None
    except Exception as error:
        raise ArchiveError(f"{path}.config is not allowed: {error}", f"{path}.config") from None
    if not isinstance(tile, TileConfig):
        raise ArchiveError(f"{path}.config is a {type(tile).__name__}: give a TileConfig", f"{path}.config")
    matrices, rows, columns = _matrices(layer)
    sizes = ((rows, tile.mapping.max_output_size), (columns, tile.mapping.max_input_size))
    return matrices * math.prod(max(1, -(-size // most)) if most > 0 else 1 for size, most in sizes)


def _matrices(layer: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return how many matrices a layer has, and rows and columns of the largest, as far as they are sizes at all."""

    def size(name: str, otherwise: int = 1) -> int:
        value = layer.get(name, otherwise)
        return math.prod(n for n in (value if isinstance(value, list) else [value]) if isinstance(n, int) and n > 0)

    rows, columns = size("out_features"), size("in_features")
    if "hidden_features" in layer:  # each cell has two matrices, or one for both
        hidden, ways = size("hidden_features"), 2 if layer.get("bidirectional") is True else 1
        return 2 * ways * size("num_layers"), _MOST_GATES * hidden, columns + (ways + 1) * hidden
    groups = size("feature_group_count")
    return groups, -(-rows // groups), -(-columns // groups) * size("kernel_size")


def _refused(document: Mapping[str, Any], key: Any, error: Exception) -> ArchiveError:
    """Return the error with the path of the layer that is wrong."""
    text = str(error) if isinstance(error, AihwjaxError) else f"the model cannot be built: {error}"
    match = re.match(r"(model[\w.\[\]]*)", str(error))
    if match:
        return ArchiveError(text, match[1])
    layers = document.get("layers")
    for i, layer in enumerate(layers if isinstance(layers, list) else ()):
        path = f"model[{i}]"
        try:
            nnx.eval_shape(lambda layer=layer, path=path: from_document(layer, nnx.Rngs(key), path))
        except Exception as found:
            match = re.match(r"(model[\w.\[\]]*)", str(found))
            return ArchiveError(f"{path}: {found}" if match is None else str(found), match[1] if match else path)
    return ArchiveError(text, "model")
