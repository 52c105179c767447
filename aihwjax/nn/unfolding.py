"""Images to the rows that a tile receives: padding, strides and patches (spec: layers, section 3)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from aihwjax.errors import ConfigError, ShapeError, nearest

Sizes: TypeAlias = int | Sequence[int]
"""One number for all spatial axes, or one for each."""
Padding: TypeAlias = str | int | Sequence[int | Sequence[int]]
"""A word, or numbers of zeros: one for all sides, one for both sides of an axis, or a pair for each axis."""

WORDS = ("SAME", "VALID", "CIRCULAR", "REFLECT", "CAUSAL", "SAME_LOWER")
_MODES = {"CIRCULAR": "wrap", "REFLECT": "reflect"}
# More kernel elements than this are gathered by an index: as many slices would take long to compile
_MOST_SLICES = 64


class Window(NamedTuple):
    """How a kernel moves over an image; one number for each spatial axis."""

    kernel: tuple[int, ...]
    """Elements of the kernel."""
    strides: tuple[int, ...]
    """Steps between outputs."""
    dilation: tuple[int, ...]
    """Distance between the elements of the kernel."""

    @property
    def elements(self) -> int:
        """Number of elements of the kernel."""
        return math.prod(self.kernel)

    @property
    def reach(self) -> tuple[int, ...]:
        """Lines that the dilated kernel covers."""
        return tuple((size - 1) * step + 1 for size, step in zip(self.kernel, self.dilation, strict=True))


def positive(name: str, value: Sizes | None, axes: int | None = None) -> tuple[int, ...]:
    """Return one number of at least 1 for each axis.

    Args:
        name: What it is, for the error.
        value: One number for all axes, or a sequence; ``None``: 1.
        axes: Number of axes; ``None``: as many as are given.

    Raises:
        ConfigError: If it is none.
    """
    given = 1 if value is None else value
    each = (given,) * (axes or 1) if isinstance(given, int | np.integer) else given
    whole = isinstance(each, Sequence | np.ndarray) and not isinstance(each, str) and len(each) > 0
    fits = whole and all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in each)
    if not fits or (axes is not None and len(each) != axes):
        many = "" if axes is None else f", or {axes} of them"
        raise ConfigError(f"{name}={value!r} is not allowed: give a whole number of at least 1{many}")
    return tuple(int(n) for n in each)


def check_padding(padding: Padding, axes: int, words: Sequence[str] = WORDS) -> str | tuple[tuple[int, int], ...]:
    """Return a word, or a pair of numbers for each axis.

    Args:
        padding: As a user gives it.
        axes: Number of spatial axes.
        words: Words that are allowed.

    Raises:
        ConfigError: If it is none of the two.
    """
    if isinstance(padding, str):
        if padding not in words:
            raise ConfigError(
                f"padding={padding!r} is not known: give one of {', '.join(words)}{nearest(padding, words)}"
            )
        if padding == "CAUSAL" and axes != 1:
            raise ConfigError(f"padding='CAUSAL' is not allowed with {axes} spatial axes: it is for one")
        return padding
    each = (padding,) * axes if isinstance(padding, int | np.integer) else padding
    pairs = []
    for entry in each if isinstance(each, Sequence | np.ndarray) else ():
        pair = (entry, entry) if isinstance(entry, int | np.integer) else entry
        if not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2:
            break
        if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for n in pair):
            break
        pairs.append((int(pair[0]), int(pair[1])))
    if len(pairs) != axes:
        text = "a whole number of at least 0" if axes == 1 else f"whole numbers of at least 0, or {axes} pairs of them"
        raise ConfigError(f"padding={padding!r} is not allowed: give {text}, or one of {', '.join(words)}")
    return tuple(pairs)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))  # one program outside of jit, instead of one for each slice
def unfolded(
    x: Float[Array, "n *space channels"],
    window: Window,
    padding: str | tuple[tuple[int, int], ...],
    widening: tuple[int, ...],
    by_index: bool = False,
) -> Float[Array, "n *places features"]:
    """Return the patches of images after their padding; see :func:`padded` and :func:`patches`.

    Args:
        x: Images ``(n, ..., channels)``.
        window: The kernel.
        padding: From :func:`check_padding`; pairs of numbers where images are widened.
        widening: Distance between the lines of the images, with zeros between them; 1: none.
        by_index: Look each number up, which is quicker than slices, unlike its transposed map.

    Raises:
        ShapeError: If an image is smaller than the kernel, or than what is reflected.
    """
    if max(widening) == 1:
        return patches(padded(x, window, padding), window, by_index)
    assert isinstance(padding, tuple)
    wide = [(before, behind, step - 1) for (before, behind), step in zip(padding, widening, strict=True)]
    return patches(lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *wide, (0, 0, 0)]), window, by_index)


def padded(
    x: Float[Array, "n *space channels"], window: Window, padding: str | tuple[tuple[int, int], ...]
) -> Float[Array, "n *padded channels"]:
    """Return images with what the padding adds.

    Args:
        x: Images ``(n, ..., channels)``.
        window: The kernel.
        padding: From :func:`check_padding`.

    Raises:
        ShapeError: If an image is smaller than what is reflected.
    """
    space = x.shape[1:-1]
    mode = "constant"
    if isinstance(padding, tuple):
        pads: Sequence[tuple[int, int]] = padding
    elif padding in _MODES:
        mode = _MODES[padding]
        pads = [((reach - 1) // 2, reach // 2) for reach in window.reach]
        if padding == "REFLECT" and any(max(pair) >= size for pair, size in zip(pads, space, strict=True)):
            raise ShapeError(f"padding='REFLECT' needs more than {max(map(max, pads))} lines: x has space {space}")
    elif padding == "CAUSAL":
        pads = [(window.reach[0] - 1, 0)]
    else:
        pads = [(int(a), int(b)) for a, b in lax.padtype_to_pads(space, window.reach, window.strides, padding)]
    if not any(itertools.chain.from_iterable(pads)):
        return x
    return jnp.pad(x, [(0, 0), *pads, (0, 0)], mode=mode)


def patches(
    x: Float[Array, "n *space channels"], window: Window, by_index: bool = False
) -> Float[Array, "n *places features"]:
    """Return what the kernel sees at each place, ``(n, ..., channels * elements)``.

    The features are in the order channel, then element of the kernel, last axis fastest.

    Args:
        x: Images ``(n, ..., channels)``, with their padding.
        window: The kernel.
        by_index: Look each number up, instead of joining slices.

    Raises:
        ShapeError: If an image is smaller than the kernel.
    """
    space = x.shape[1:-1]
    if any(size < reach for size, reach in zip(space, window.reach, strict=True)):
        raise ShapeError(f"a kernel that covers {window.reach} does not fit on {space}, the padded space of x")
    places = tuple(
        (size - reach) // step + 1 for size, reach, step in zip(space, window.reach, window.strides, strict=True)
    )
    if window.elements == 1 and max(window.strides) == 1:
        return x
    known = all(isinstance(size, int) for size in x.shape[1:])  # in jax.export a size may be a symbol
    if known and (by_index or window.elements > _MOST_SLICES):
        return _looked_up(x, window, places)
    seen = []
    for element in itertools.product(*map(range, window.kernel)):
        start = [at * step for at, step in zip(element, window.dilation, strict=True)]
        end = [a + (n - 1) * step + 1 for a, n, step in zip(start, places, window.strides, strict=True)]
        seen.append(lax.slice(x, (0, *start, 0), (x.shape[0], *end, x.shape[-1]), (1, *window.strides, 1)))
    return jnp.stack(seen, axis=-1).reshape(x.shape[0], *places, x.shape[-1] * window.elements)


def _looked_up(x: jax.Array, window: Window, places: tuple[int, ...]) -> jax.Array:
    """The same by one index into the numbers of an image."""
    channels = x.shape[-1]
    corner = element = np.zeros((), np.int64)
    for size, count, kernel, step, apart in zip(
        x.shape[1:-1], places, window.kernel, window.strides, window.dilation, strict=True
    ):
        corner = corner[..., None] * size + np.arange(count) * step
        element = element[..., None] * size + np.arange(kernel) * apart
    feature = element.reshape(1, -1) * channels + np.arange(channels)[:, None]
    # added in the program: as a constant it would be as large as the patches of an image
    index = jnp.asarray(corner.reshape(-1, 1) * channels, jnp.int32) + jnp.asarray(feature.reshape(1, -1), jnp.int32)
    seen = x.reshape(x.shape[0], math.prod(x.shape[1:])).at[:, index].get(mode="promise_in_bounds")
    return seen.reshape(x.shape[0], *places, channels * window.elements)
