"""The errors that aihwjax raises on purpose.

Everything a user can do wrong ends in one of these, in one line that names the
argument, the value it had and what is allowed. Below the common base are the
families of the library; the names of the reference's errors are kept where the
meaning is the same.
"""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests


_LONGEST = 400
"""Characters of a message that quotes what somebody else wrote."""
_FOLDER = str(Path(__file__).parent)


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


class DivergedError(NonFiniteError):
    """A training run's loss, gradients or weights are no longer finite; it stops at the end of that epoch.

    Checkpoints of the epochs before stay as they are.
    """

    def __init__(self, message: str, metrics: Sequence[Mapping[str, object]] = ()) -> None:
        """Keep what was reached beside the message.

        Args:
            message: One line.
            metrics: Metrics of the finished epochs, all finite.
        """
        super().__init__(message)
        self.metrics = list(metrics)
        """Metrics of the finished epochs, one dictionary each, all finite."""


class DataError(AihwjaxError):
    """Data are missing, empty, damaged, no real numbers, or do not fit the model."""


class CheckpointError(AihwjaxError):
    """A checkpoint is missing, damaged or belongs to another experiment."""


class MissingExtraError(AihwjaxError):
    """A feature needs an optional dependency that is not installed."""


class CloudError(AihwjaxError):
    """Something went wrong with an experiment in the cloud; base of the errors below."""


class CredentialsError(CloudError):
    """There is no token, or the composer does not accept it."""


class ResponseError(CloudError):
    """The composer cannot be reached, or answered with an error."""

    def __init__(self, message: str, response: requests.Response | None = None) -> None:
        """Keep the answer beside the message.

        Args:
            message: One line.
            response: The answer, or ``None`` if there was none.
        """
        super().__init__(message)
        self.response = response
        """The answer, or ``None`` if there was none."""


class ApiResponseError(ResponseError):
    """The composer refused a call of its interface; the message has its reason."""


class InvalidResponseFieldError(CloudError):
    """An answer of the composer lacks a field or has a wrong value in one."""


class ExperimentStatusError(CloudError):
    """A cloud experiment is not in the state that a call needs, or it failed."""


class ArchiveError(CloudError):
    """An experiment document or archive is damaged or not allowed."""

    def __init__(self, message: str, field: str | None = None) -> None:
        """Keep the place beside the message.

        Args:
            message: What is wrong; shortened to one line.
            field: Dotted path of the entry that is wrong, such as ``"experiment.epochs"``, if it is one.
        """
        line = " ".join(message.split())
        super().__init__(line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "...")
        self.field = field
        """Dotted path of the entry that is wrong, or ``None``."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``"; did you mean 'dw_min'?"``, or an empty string.

    Args:
        name: The unknown name.
        known: The names that would have been right.
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def warn(message: str) -> None:
    """Warn of something, as of the line outside of this library that called it.

    Args:
        message: One line.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDER):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
