"""The error of the analog product against the exact one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, Int64

from aihwjax import arguments, random, tile
from aihwjax.devices.base import Device
from aihwjax.devices.floating_point import FloatingPointDevice
from aihwjax.errors import ConfigError
from aihwjax.plot.style import BLUE, GREEN, GREY, RED, axes, drawn, number_ticks, panels
from aihwjax.plot.subject import Seed, Subject, key_of, name_of, named, tile_config
from aihwjax.random import derive
from aihwjax.tile.config import TileConfig
from aihwjax.tile.product.io import IOParameters
from aihwjax.typing import Key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Factors on the input at which the error is measured by default."""
SIZES = (16, 64, 256, 1024)
"""Numbers of inputs at which the error is measured by default."""
DEFAULT_CONVERTERS = "default converters of a tile"
"""What the figure of a device says, which has no converters of its own."""
_DRAWN_POINTS = 4000

_Products: TypeAlias = Float32[np.ndarray, "scales vectors out"]


@arguments.answering
@dataclass(frozen=True)
class MvmError:
    """Analog against exact products, and the error for several scales and numbers of inputs.

    An error is the root mean square of analog minus exact outputs, relative to the root mean square
    of the exact ones.
    """

    name: str
    """What was measured."""
    exact: Float32[np.ndarray, "vectors out"]
    """Exact products at scale 1, ``(vectors, out)``."""
    analog: Float32[np.ndarray, "vectors out"]
    """Analog products of the same vectors, ``(vectors, out)``."""
    scales: Float64[np.ndarray, " scales"]
    """Factors on the input."""
    scale_errors: Float64[np.ndarray, " scales"]
    """Relative error at each scale."""
    sizes: Int64[np.ndarray, " sizes"]
    """Numbers of inputs."""
    size_errors: Float64[np.ndarray, " sizes"]
    """Relative error at each number of inputs, with inputs of scale 1."""


@arguments.answered
def compute_mvm_error(
    subject: Subject | IOParameters,
    *,
    in_size: int = 256,
    out_size: int = 64,
    vectors: int = 128,
    scales: Sequence[float] = SCALES,
    sizes: Sequence[int] = SIZES,
    weight_spread: float = 0.3,
    key: Seed = 0,
) -> MvmError:
    """Multiply random vectors by random weights, analog and exactly.

    Inputs are uniform between -1 and 1 times the scale, weights uniform between plus and minus
    ``weight_spread``, clipped by the device. The exact product is that of the tile's weights.

    Args:
        subject: Parameters of the product, or a device, tile configuration or preset name whose
            forward product is meant; a device has no converters, so those of a tile with defaults are measured,
            and the name of the result says so.
        in_size: Inputs of the tile at all scales.
        out_size: Outputs of the tile.
        vectors: Number of input vectors.
        scales: Factors on the input.
        sizes: Numbers of inputs.
        weight_spread: Largest weight.
        key: Key or seed of everything random.

    Raises:
        ConfigError: If a count is below 1, a scale is not above 0 or the subject is not known.
    """
    for label, value in (("in_size", in_size), ("out_size", out_size), ("vectors", vectors), *_named("sizes", sizes)):
        if value < 1:
            raise ConfigError(f"{label}={value!r} is not allowed: give at least 1")
    for label, scale in _named("scales", scales):
        if not scale > 0:
            raise ConfigError(f"{label}={scale!r} is not allowed: give a number above 0")
    if isinstance(subject, IOParameters):
        config, name = TileConfig(device=FloatingPointDevice(), forward=subject), "IOParameters"
    else:
        config, name = _looked_up(subject)
    source = key_of(key)

    def products(size: int, factors: Sequence[float]) -> tuple[_Products, _Products]:
        values = jnp.asarray(factors, jnp.float32)
        exact, analog = _products(config, values, weight_spread, source, size, out_size, vectors)
        return np.asarray(exact), np.asarray(analog)

    exact, analog = products(in_size, [1.0, *scales])
    errors = _relative(exact, analog)
    by_size = [float(errors[0] if size == in_size else _relative(*products(size, [1.0]))[0]) for size in sizes]
    return MvmError(
        name, exact[0], analog[0], np.asarray(scales, float), errors[1:], np.asarray(sizes, int), np.asarray(by_size)
    )


def _looked_up(subject: Subject) -> tuple[TileConfig, str]:
    found = named(subject) if isinstance(subject, str) else subject
    if isinstance(found, IOParameters):
        return TileConfig(device=FloatingPointDevice(), forward=found), name_of(subject)
    name = name_of(subject)
    return tile_config(subject), f"{name}, {DEFAULT_CONVERTERS}" if isinstance(found, Device) else name


def _named(name: str, values: Sequence[float]) -> list[tuple[str, float]]:
    return [(f"{name}[{place}]", value) for place, value in enumerate(values)]


def _relative(exact: _Products, analog: _Products) -> Float64[np.ndarray, " scales"]:
    """Return the relative error of each scale, ``(scales,)``."""
    wrong = np.mean((analog - exact).astype(np.float64) ** 2, axis=(1, 2))
    return np.sqrt(wrong / np.maximum(np.mean(exact.astype(np.float64) ** 2, axis=(1, 2)), 1e-300))


@partial(jax.jit, static_argnames=("in_size", "out_size", "vectors"))
def _products(
    config: TileConfig, scales: jax.Array, spread: float, key: Key, in_size: int, out_size: int, vectors: int
) -> tuple[jax.Array, jax.Array]:
    state = tile.init(config, derive(key, "init"), (out_size, in_size))
    weights = random.uniform(derive(key, "weights"), (out_size, in_size), -spread, spread)
    state = tile.set_weights(config, state, weights, derive(key, "set"))
    x = random.uniform(derive(key, "x"), (vectors, in_size), -1.0, 1.0)
    kept = tile.get_weights(config, state)

    def at(entry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, scale = entry
        inputs = x * scale
        noise = derive(derive(key, "forward"), number)
        exact = jnp.matmul(inputs, kept.T, precision="highest")
        return exact, tile.forward(config, state, inputs, noise)

    return jax.lax.map(at, (jnp.arange(scales.shape[0]), scales))


@arguments.answered
@drawn
def plot_mvm_error(error: MvmError | Subject | IOParameters, ax: Axes | None = None) -> Figure:
    """Draw analog against exact outputs, the residuals, and the error by input scale and input size.

    Args:
        error: From :func:`compute_mvm_error`; parameters of a product, a device, tile configuration
            or preset name is measured with the defaults.
        ax: Where to draw analog against exact outputs alone; by default a new figure has all four.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    if not isinstance(error, MvmError):
        error = compute_mvm_error(error)
    if ax is not None:
        figure, ax = axes(ax)
        _draw_scatter(error, ax)
        ax.set_title(error.name)
        return figure
    figure, (first, second, third, fourth) = panels(2, 2)
    _draw_scatter(error, first)
    residuals = (error.analog - error.exact).ravel()
    second.hist(residuals, 60, color=BLUE, alpha=0.7)
    second.axvline(0, color=GREY, lw=0.6)
    spread = float(residuals.std())
    second.set(xlabel="analog − exact output", ylabel="outputs", title=f"standard deviation {spread:.3g}")
    number_ticks(second)
    for ax, places, errors, colour, label in (
        (third, error.scales, error.scale_errors, RED, "scale of the input"),
        (fourth, error.sizes, error.size_errors, GREEN, "number of inputs"),
    ):
        ax.semilogx(places, 100 * errors, "o-", color=colour, ms=3)
        ax.set(xlabel=label, ylabel="relative error (%)")
        ax.set_ylim(0, 1.15 * max(100 * float(errors.max()), 1e-6))
    figure.suptitle(error.name, fontsize=9)
    return figure


def _draw_scatter(error: MvmError, ax: Axes) -> None:
    exact, analog = error.exact.ravel(), error.analog.ravel()
    chosen = slice(None, None, max(1, len(exact) // _DRAWN_POINTS))
    ax.plot(exact[chosen], analog[chosen], ".", color=BLUE, ms=1.5, alpha=0.4, mew=0, rasterized=True)
    limits = float(exact.min()), float(exact.max())
    ax.plot(limits, limits, color=GREY, lw=0.8)
    ax.set(xlabel="exact output", ylabel="analog output")
    number_ticks(ax)
