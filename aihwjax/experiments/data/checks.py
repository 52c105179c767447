"""Checks on images and labels that all sources share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aihwjax.errors import DataError

_LONGEST = 240


def one_line(error: BaseException) -> str:
    """Return what an error of another library says, in one line of bounded length."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({one_line(error)}); allowed: a readable file") from error


def check_pair(x: np.ndarray, y: np.ndarray, x_where: str, y_where: str) -> None:
    """Refuse a split that is empty or whose inputs and labels differ in number.

    Args:
        x: Inputs, ``(N, ...)``.
        y: Labels or targets, ``(N, ...)``.
        x_where: The file or argument of the inputs, for error messages.
        y_where: The file or argument of the labels.

    Raises:
        DataError: In either case.
    """
    if len(x) == 0:
        raise DataError(f"{x_where}: empty, shape {x.shape}; allowed: at least 1 example")
    if len(x) != len(y):
        raise DataError(f"{y_where}: {len(y)} labels for the {len(x)} examples of {x_where}; allowed: one an example")


def check_labels(labels: np.ndarray, classes: int, where: str) -> np.ndarray:
    """Return the labels as int32.

    Args:
        labels: Whole numbers of any numeric type, ``(N,)``.
        classes: The number of classes.
        where: The file or argument, for error messages.

    Raises:
        DataError: If one is not a whole number from 0 to ``classes - 1``; the first such label is named.
    """
    labels = whole_numbers(labels, where)
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise DataError(f"{where}: label {labels[index]} at index {index}; allowed: 0 to {classes - 1}")
    return labels.astype(np.int32)


def whole_numbers(labels: np.ndarray, where: str) -> np.ndarray:
    """Return the labels as int64.

    Args:
        labels: Whole numbers of any numeric type, ``(N,)``.
        where: The file or argument, for error messages.

    Raises:
        DataError: If one is not a whole number; the first such label is named.
    """
    if labels.dtype.kind not in "buif":
        raise DataError(f"{where}: labels have type {labels.dtype}; allowed: whole numbers")
    if labels.dtype.kind == "f":
        broken = ~np.isfinite(labels) | (labels != np.floor(labels))
        if broken.any():
            index = int(np.argmax(broken))
            raise DataError(f"{where}: label {labels[index]} at index {index}; allowed: whole numbers")
    return labels.astype(np.int64)


def check_image_shape(images: np.ndarray, shape: tuple[int, ...], where: str) -> None:
    """Refuse images of another size.

    Args:
        images: ``(N, ...)``.
        shape: The shape of one image.
        where: The file or argument, for error messages.

    Raises:
        DataError: If the shape of one image differs.
    """
    if images.shape[1:] != shape:
        raise DataError(f"{where}: images of shape {images.shape[1:]}; allowed: {shape}")
