"""The errors that aihwjax raises on purpose.

Everything a user can do wrong ends in one of these, in one line that names the
argument, the value it had and what is allowed. Below the common base are the
families of the library; the names of the reference's errors are kept where the
meaning is the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AihwjaxError(Exception):
    """Base of every error that aihwjax raises on purpose."""


class ConfigError(AihwjaxError):
    """A configuration field is unknown, has the wrong type or a value that is not allowed."""


class ShapeError(AihwjaxError):
    """An array does not have the shape that the tile or layer needs."""


class NonFiniteError(AihwjaxError):
    """An array contains NaN or infinity where only finite numbers make sense."""


class ModuleError(AihwjaxError):
    """A layer or model is used in a way that it does not support."""


class DataError(AihwjaxError):
    """A data set is missing, empty, damaged or does not fit the model."""


class CheckpointError(AihwjaxError):
    """A checkpoint is missing, damaged or belongs to another experiment."""


class MissingExtraError(AihwjaxError):
    """A feature needs an optional dependency that is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``"; did you mean 'dw_min'?"``, or an empty string.

    Args:
        name: The unknown name.
        known: The names that would have been right.
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
