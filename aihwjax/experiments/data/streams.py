"""Training examples that come in pieces, from a generator or a loader, instead of lying in an array."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from aihwjax.errors import AihwjaxError, DataError

Batches: TypeAlias = Callable[[int, int], Iterable[Any]] | Iterable[Any]
"""``batches(epoch, seed)`` returns an iterable of ``(x, y)`` or ``(x, y, weight)``; or such an iterable itself."""

_MOST = 3
"""Arrays in a piece: inputs, targets, weights."""


class Piece(NamedTuple):
    """Some training examples."""

    x: np.ndarray
    """Inputs, float32 ``(n, ...)``."""
    y: np.ndarray
    """Labels, int32 ``(n,)``, or targets, float32 ``(n, ...)``."""
    weight: np.ndarray | None
    """How much each one counts, float32 ``(n,)``; ``None``: all the same."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """The training examples of each epoch, in pieces of any size."""

    batches: Batches
    """Where they come from."""
    check: Callable[[Any, Any, Any], Piece]
    """Makes a checked piece of what came."""
    scale: Callable[[np.ndarray], np.ndarray] = lambda x: x
    """Applied to the inputs."""
    limit: int = 0
    """If above 0, only so many first examples of each epoch."""

    def pieces(self, epoch: int, seed: int) -> Iterator[Piece]:
        """Yield the examples of an epoch.

        Args:
            epoch: The epoch, from 0.
            seed: Of the run.

        Raises:
            DataError: If a piece is not one, nothing comes, or the user's code fails; has its message.
        """
        count, number = 0, -1
        for number, given in enumerate(self._given(epoch, seed)):
            if not isinstance(given, tuple | list) or not 2 <= len(given) <= _MOST:
                what = f"{len(given)} values" if isinstance(given, tuple | list) else type(given).__name__
                raise DataError(f"batch {number} of epoch {epoch} is {what}; allowed: (x, y), or (x, y, weight)")
            x, y, weight = (*given, None)[:_MOST]
            try:
                piece = self.check(x, y, weight)
            except DataError as error:
                raise DataError(f"batch {number} of epoch {epoch}: {error}") from None
            if self.limit:
                piece = Piece(*(None if part is None else part[: self.limit - count] for part in piece))  # type: ignore[arg-type]
            count += len(piece.y)
            yield piece._replace(x=self.scale(piece.x))
            if self.limit and count >= self.limit:
                return
        if number < 0:
            raise DataError(f"epoch {epoch} has no batches; allowed: at least one")

    def _given(self, epoch: int, seed: int) -> Iterator[Any]:
        try:
            yield from self.batches(epoch, seed) if callable(self.batches) else self.batches
        except AihwjaxError:
            raise
        except Exception as error:  # what a user's code raises can be anything
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"the batches of epoch {epoch} failed: {type(error).__name__}: {reason}") from error
