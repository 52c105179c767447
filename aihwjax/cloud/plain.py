"""Documents as JSON: plain values, finite numbers, and the path of what is wrong."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aihwjax import arguments
from aihwjax.errors import AihwjaxError, ArchiveError, ConfigError

_MOST_DEPTH = 64
_LARGEST_SINGLE = float(np.finfo(np.float32).max)
"""Above it a number is infinite in single precision."""


@arguments.answered
def dumps(document: Mapping[str, Any]) -> str:
    """Return a document as JSON text.

    Raises:
        ConfigError: If a number in it is NaN or infinite.
    """
    try:
        return json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        where = next((path for path, value in _leaves(document, "") if not _finite(value)), "a number")
        raise ConfigError(f"{where} is NaN or infinite, which is not allowed in the cloud: give a finite one") from None


@arguments.answered
def loads(text: str | bytes) -> dict[str, Any]:
    """Return the document of JSON text, unchecked but for being JSON.

    Raises:
        ArchiveError: If it is no JSON object, or has NaN or infinity; then it has the path of that number.
    """
    try:
        document = json.loads(text)  # Python's reader takes NaN and Infinity, and 1e999 is infinite
    except RecursionError:
        raise ArchiveError("the document is too deep") from None
    except ValueError as error:  # also of text that is not UTF-8
        raise ArchiveError(f"the document is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise ArchiveError(f"the document is a {type(document).__name__}: give an object")
    check_finite(document)
    return document


def check_finite(document: Mapping[str, Any]) -> None:
    """Refuse a document that is too deep, or has values that are not plain or numbers that are not finite.

    Args:
        document: Anything.

    Raises:
        ArchiveError: If it has; with the path of the value.
    """
    for path, value in _leaves(document, ""):
        # metrics are only told, all else is computed with
        single = path.startswith("metrics") or not isinstance(value, float) or abs(value) <= _LARGEST_SINGLE
        if not (_finite(value) and single):
            raise ArchiveError(f"{path} is NaN, infinite or too large: give a finite number", path)


def short(value: Any) -> str:
    """Return a value as a short line, for an error.

    Args:
        value: Anything.
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


@contextlib.contextmanager
def at(field: str | None) -> Iterator[None]:
    """Give the errors of the library the path of an entry.

    Args:
        field: The path.

    Raises:
        ArchiveError: In place of any other error of the library.
    """
    try:
        yield
    except ArchiveError:
        raise
    except AihwjaxError as error:
        raise ArchiveError(str(error), field) from None


def _leaves(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the plain values of a document with their paths.

    Raises:
        ArchiveError: If it is too deep, or has values that JSON has not.
    """
    if depth > _MOST_DEPTH:
        raise ArchiveError(f"{path[:100]} is too deep: give at most {_MOST_DEPTH} levels", path[:100])
    if isinstance(value, Mapping):
        for name, entry in value.items():
            if not isinstance(name, str):
                raise ArchiveError(f"{path} has an entry {short(name)}: give names that are text", path)
            yield from _leaves(entry, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list | tuple):
        for i, entry in enumerate(value):
            yield from _leaves(entry, f"{path}[{i}]", depth + 1)
    elif value is None or isinstance(value, bool | int | float | str):
        yield path, value
    else:
        raise ArchiveError(f"{path} is a {type(value).__name__}: give a plain value", path)


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64
