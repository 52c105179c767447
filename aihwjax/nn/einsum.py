"""A contraction with one matrix, written as an einsum, on analog tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from aihwjax.errors import ConfigError
from aihwjax.nn.layer import AnalogLayer, Start, params_key
from aihwjax.nn.unfolding import positive
from aihwjax.random import Noise
from aihwjax.tile.config import TileConfig

_REST = "..."


class Contraction(NamedTuple):
    """What an einsum does with its input and its kernel; labels are letters."""

    inputs: tuple[str, ...]
    """Axes of the input, ``...`` for any number."""
    kernel: tuple[str, ...]
    """Axes of the kernel."""
    result: tuple[str, ...]
    """Axes of the result, ``...`` for those of the input."""

    @property
    def summed(self) -> tuple[str, ...]:
        """Axes of the kernel that are summed over, in its order: the columns of the matrix."""
        return tuple(label for label in self.kernel if label in self.inputs)

    @property
    def made(self) -> tuple[str, ...]:
        """Axes of the kernel that the result has, in the order of the result: the rows of the matrix."""
        return tuple(label for label in self.result if label in self.kernel)

    def of(self, axes: int) -> tuple[list[str | int], list[str | int]]:
        """Return the axes of an input and of its result, those of ``...`` as numbers.

        Args:
            axes: How many the input has.
        """
        rest = range(axes - len([label for label in self.inputs if label != _REST]))
        expand = [
            [part for label in labels for part in (rest if label == _REST else (label,))]
            for labels in (self.inputs, self.result)
        ]
        return expand[0], expand[1]


def contraction(einsum_str: object) -> Contraction:
    """Return what an einsum does.

    Args:
        einsum_str: Such as ``"...a,ab->...b"``: the axes of the input, of the kernel and of the result.

    Raises:
        ConfigError: If it is no einsum of an input and a kernel, or its kernel is no matrix.
    """
    terms = str(einsum_str).replace(" ", "").replace("->", ",").split(",")
    if not isinstance(einsum_str, str) or len(terms) != 3 or einsum_str.count(",") != 1:
        raise _refused(einsum_str, "give input, kernel and result, such as 'ab,bc->ac'")
    labels = [_labels(term) for term in terms]
    for term, each in zip(terms, labels, strict=True):
        if not all(label == _REST or (label.isascii() and label.isalpha()) for label in each):
            raise _refused(einsum_str, f"axes are letters or '...', unlike {term!r}")
        if len(set(each)) < len(each):
            raise _refused(einsum_str, f"{term!r} has an axis twice")
    found = Contraction(*labels)
    problem = _problem(found)
    if problem:
        raise _refused(einsum_str, problem)
    return found


def _refused(einsum_str: object, problem: str) -> ConfigError:
    return ConfigError(f"einsum_str={einsum_str!r} is not allowed: {problem}")


def _labels(term: str) -> tuple[str, ...]:
    before, dots, behind = term.partition(_REST)
    return (*before, _REST, *behind) if dots else tuple(term)


def _problem(found: Contraction) -> str:
    """Say why a kernel is no matrix; empty if it is one."""
    inputs, kernel, result = (set(labels) for labels in found)
    if _REST in kernel:
        return "the kernel has no '...', for all of its axes lie on tiles"
    if (_REST in inputs) is not (_REST in result):
        return "'...' is of both input and result, or of neither"
    for label in found.result:
        if label not in inputs | kernel:
            return f"{label!r} of the result is neither of the input nor of the kernel"
    for label in found.kernel:
        if label in inputs & result:
            return f"the kernel has a matrix for each entry of {label!r}, an axis of input and result"
        if label not in inputs | result:
            return f"{label!r} of the kernel is summed without the input"
    for label in found.inputs:
        if label not in kernel | result:
            return f"{label!r} of the input is summed without the kernel"
    return "" if found.summed else "input and kernel have no axis in common"


class AnalogEinsum(AnalogLayer):
    """A contraction with a kernel, written as an einsum, whose matrix lies on analog tiles.

    The arguments are those of ``flax.nnx.Einsum``. Each axis of the kernel is one that is summed over with the input,
    or a new one of the result. The matrix on the tiles is ``(new axes, summed axes)``: the new ones in the order of the
    result, the summed ones in that of the kernel.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> layer = AnalogEinsum("...ta,hab->...htb", (8, 2, 4), (8, 4), rngs=nnx.Rngs(0))
        >>> layer(jax.numpy.ones((16, 11, 2)), key=jax.random.key(1)).shape
        (16, 8, 11, 4)

    Args:
        einsum_str: Axes of the input, the kernel and the result, such as ``"...a,ab->...b"``.
        kernel_shape: Size of each axis of the kernel.
        bias_shape: Sizes of the new axes in the order of the result; ``None``: no bias. ``config.mapping.digital_bias``
            says where it is.
        config: Configuration of the tiles; ``None``: ``SingleRPUConfig()``.
        weights: First weights, as the matrix on the tiles, and bias, as one vector, or ``None``; ``None``: drawn.
        dtype: Type of the outputs; ``None``: that of inputs and weights together, at most float32.
        param_dtype: Type of the weights, as far as outputs follow it; tiles hold float32.
        rngs: Source of initial weights and of the devices.

    Raises:
        ConfigError: If an argument is not allowed; an axis that kernel, input and result all have is none.
    """

    def __init__(
        self,
        einsum_str: str,
        kernel_shape: Sequence[int],
        bias_shape: Sequence[int] | None = None,
        *,
        config: TileConfig | None = None,
        weights: Start | None = None,
        dtype: Any = None,
        param_dtype: Any = "float32",
        rngs: nnx.Rngs,
    ) -> None:
        found = contraction(einsum_str)
        shape = positive("kernel_shape", kernel_shape, len(found.kernel))
        size = dict(zip(found.kernel, shape, strict=True))
        made, summed = tuple(size[label] for label in found.made), tuple(size[label] for label in found.summed)
        rows, columns = math.prod(made), math.prod(summed)
        sizes: Any = bias_shape
        if bias_shape is not None and (not isinstance(sizes, Sequence) or math.prod(sizes) != rows):
            raise ConfigError(f"bias_shape={bias_shape!r} is not allowed: give {made}, the sizes of {found.made}")
        self.einsum_str = einsum_str.replace(" ", "")
        """Axes of the input, the kernel and the result."""
        self.kernel_shape = shape
        """Size of each axis of the kernel."""
        self.bias_shape = None if bias_shape is None else tuple(int(n) for n in bias_shape)
        """Shape of the bias, if there is one."""
        self.contraction = found
        """What the einsum does."""
        self.made, self.summed = made, summed
        super().__init__(
            columns,
            rows,
            bias_shape is not None,
            config=config,
            key=params_key(rngs),
            weights=weights,
            dtype=dtype,
            param_dtype=param_dtype,
        )

    def __call__(
        self,
        inputs: Float[Array, "*shape"],
        einsum_str: str | None = None,
        out_sharding: None = None,
        *,
        key: Noise | None = None,
    ) -> Float[Array, "*result"]:
        """Apply the layer.

        Args:
            inputs: Input with the axes that ``einsum_str`` says.
            einsum_str: That of the layer, or ``None``: its matrix lies on tiles for this one.
            out_sharding: Not used; modules of Flax give it to their layers.
            key: Source of the noise; equal keys give equal outputs.

        Returns:
            The result, float32.

        Raises:
            ModuleError: If there is no key.
            ConfigError: If the key is none, or ``einsum_str`` another one.
            DataError: If ``inputs`` is no array of real numbers.
            ShapeError: If the axes of ``inputs`` do not have the sizes of the kernel.
        """
        if einsum_str is not None and einsum_str.replace(" ", "") != self.einsum_str:
            raise ConfigError(
                f"einsum_str={einsum_str!r} is not allowed: the matrix lies on tiles for {self.einsum_str!r}"
            )
        x, key = self.checked(inputs, key)
        axes, result = self.contraction.of(x.ndim)
        rest = [axis for axis in axes if axis not in self.contraction.summed]
        rows = jnp.transpose(x, [axes.index(axis) for axis in (*rest, *self.contraction.summed)])
        sizes = rows.shape[: len(rest)]
        y = self.multiply(rows.reshape(*sizes, self.columns), key).reshape(*sizes, *self.made)
        order: list[Any] = [*rest, *self.contraction.made]
        return self.typed(jnp.transpose(y, [order.index(axis) for axis in result]), inputs)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        labels = self.contraction.inputs
        if len(shape) < len(labels) - (_REST in labels) or (_REST not in labels and len(shape) > len(labels)):
            return False
        axes, _ = self.contraction.of(len(shape))
        given = dict(zip(axes, shape, strict=True))
        return tuple(given[label] for label in self.contraction.summed) == self.summed

    def _wanted(self) -> str:
        sizes = ", ".join(f"{a}={n}" for a, n in zip(self.contraction.summed, self.summed, strict=True))
        return f"axes {''.join(self.contraction.inputs)!r} with {sizes}"

    def _name(self) -> str:
        return f"AnalogEinsum({self.einsum_str!r}, {self.kernel_shape})"

    def describe(self) -> str:
        """Return the text."""
        bias = "analog" if self.analog_bias else str(self.bias is not None)
        return f"AnalogEinsum({self.einsum_str!r}, {self.kernel_shape}, bias={bias}, {self._tiles_text()})"
