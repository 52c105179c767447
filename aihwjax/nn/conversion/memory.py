"""Memory that arrays have left."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


def give_back() -> None:
    """Hand memory that is free back to the system, where the C library of Linux would keep it.

    The threads of the compiler's programs have heaps of their own: what arrays have left in one of them is not used for
    new arrays of another. Elsewhere nothing happens.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library
        return None
