"""The IDX file format, in which the MNIST family is published.

Two zero bytes, a type code (8: unsigned byte), the number of dimensions, one big-endian 32-bit size a
dimension, then the bytes; possibly all of it in gzip.
"""

from __future__ import annotations

import gzip
import math
import zlib

import numpy as np

from aihwjax.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 8


def parse(content: bytes, where: str, dimensions: int) -> np.ndarray:
    """Return the uint8 array of an IDX file.

    Args:
        content: The whole file, plain or in gzip (recognised by its first bytes, not by its name).
        where: The file, for error messages.
        dimensions: The number of dimensions that is expected: 3 for images, 1 for labels.

    Raises:
        DataError: If the file is empty, damaged, truncated, too long or of another kind.
    """
    if content[:2] == _GZIP_MAGIC:
        content = _unpack(content, where)
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{where}: truncated at {len(content)} bytes; allowed: an IDX file, header of {start} bytes")
    kind = tuple(content[:4])
    if kind != (0, 0, _UNSIGNED_BYTE, dimensions):
        expected = (0, 0, _UNSIGNED_BYTE, dimensions)
        raise DataError(f"{where}: starts with bytes {kind}; allowed: {expected}, IDX of {dimensions} dimension(s)")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=dimensions, offset=4))
    size, found = math.prod(shape), len(content) - start
    if found != size:
        problem = "truncated" if found < size else "too long"
        raise DataError(f"{where}: {problem}, {found} bytes of data; allowed: {size}, for shape {shape} in its header")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _unpack(content: bytes, where: str) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where}: damaged gzip data ({error}); allowed: a complete gzip file") from error
