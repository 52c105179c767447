"""The key of a run as JSON: a whole number, or the words of a JAX key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax.errors import ArchiveError, ConfigError
from aihwjax.random import as_key
from aihwjax.typing import Key

_WORDS = {"threefry2x32": 2, "rbg": 4, "unsafe_rbg": 4}
_FIELD = "experiment.key"


def key_entry(key: Key | int) -> int | dict[str, Any]:
    """Return the entry of a key.

    Args:
        key: Whole number or JAX key.

    Raises:
        ConfigError: If it is neither.
    """
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and -(2**63) <= key < 2**63:
        return int(key)
    key = as_key(key)
    if not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    kind = str(jax.random.key_impl(key))
    if kind not in _WORDS:
        raise ConfigError(
            f"key of the kind {kind!r} is not allowed: give one of {', '.join(_WORDS)}, or a whole number"
        )
    return {"impl": kind, "data": np.asarray(jax.random.key_data(key)).tolist()}


def run_key(entry: Any) -> Key | int:
    """Return the key of an entry.

    Args:
        entry: From :func:`key_entry`, or anything.

    Raises:
        ArchiveError: If it is no key.
    """
    if isinstance(entry, int) and not isinstance(entry, bool) and -(2**63) <= entry < 2**63:
        return entry
    if isinstance(entry, Mapping) and set(entry) == {"impl", "data"}:
        words, data = _WORDS.get(str(entry["impl"])), entry["data"]
        if isinstance(data, list) and len(data) == words and all(_is_word(word) for word in data):
            return jax.random.wrap_key_data(jnp.asarray(data, jnp.uint32), impl=str(entry["impl"]))
    text = " ".join(repr(entry).split())[:60]
    raise ArchiveError(f"{_FIELD}={text} is not allowed: give a whole number, or a key with impl and data", _FIELD)


def _is_word(word: Any) -> bool:
    return isinstance(word, int) and not isinstance(word, bool) and 0 <= word < 2**32
