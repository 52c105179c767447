"""What programming does to weights: the error of each, and how it depends on the weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float32
from numpy.typing import ArrayLike

from aihwjax import arguments
from aihwjax.errors import ConfigError
from aihwjax.inference import chip
from aihwjax.nn.programming import program, tiles_of
from aihwjax.plot.chip_subject import ChipSubject, chip_config, chip_name, weights_to_program
from aihwjax.plot.spread import spread_over
from aihwjax.plot.style import BLUE, GREY, RED, axes, drawn, legend_above, number_ticks, panels
from aihwjax.plot.subject import Seed, key_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN_POINTS = 4000


@arguments.answering
@dataclass(frozen=True)
class ProgrammingError:
    """Weights of tiles before and right after programming, in units of the largest magnitude of each tile."""

    name: str
    """What was programmed."""
    target: Float32[np.ndarray, " weights"]
    """The exact weights, from -1 to 1."""
    programmed: Float32[np.ndarray, " weights"]
    """The weights on the chip."""

    @property
    def error(self) -> Float32[np.ndarray, " weights"]:
        """Programmed minus exact weight."""
        return self.programmed - self.target


@arguments.answered
def compute_programming_error(
    subject: ChipSubject | nnx.Module, *, weights: ArrayLike | None = None, key: Seed = 0
) -> ProgrammingError:
    """Program weights, and return them beside the exact ones.

    Args:
        subject: Noise model, tile configuration with one, or the name of a preset or noise model. Or a model with
            analog layers: its own weights are programmed, and if it is a chip already, those of the chip are taken.
        weights: Matrix ``(out, in)``; by default 64 × 256 weights, evenly from -1 to 1. Not for a model.
        key: Key or seed of the programming noise.

    Raises:
        ConfigError: If the subject is not known or has no noise model, or there are weights beside a model.
        ModuleError: If a model has no analog layer.
        ShapeError: If ``weights`` is no matrix.
        NonFiniteError: If a weight is NaN or infinite.
    """
    if isinstance(subject, nnx.Module):
        if weights is not None:
            raise ConfigError("weights are not allowed beside a model, which has its own: give weights=None")
        return _of_model(subject, key)
    config, matrix = chip_config(subject), weights_to_program(weights)
    programmed = chip.program(config, matrix, key_of(key)).programmed
    return ProgrammingError(chip_name(subject), *_relative(np.asarray(matrix), np.asarray(programmed)))


def _of_model(model: nnx.Module, key: Seed) -> ProgrammingError:
    if any(tile.chip is None for tile in tiles_of(model).values()):
        model = program(model, key_of(key))
    parts = []
    for tile in tiles_of(model).values():
        assert tile.chip is not None
        kept = jax.tree.map(np.asarray, tile.chip.get_value())
        pairs = [(kept.exact, kept.programmed)]
        if tile.count is not None:
            pairs = list(zip(kept.exact, kept.programmed, strict=True))
        parts += [_relative(*pair) for pair in pairs]
    target, programmed = (np.concatenate(values) for values in zip(*parts, strict=True))
    return ProgrammingError(type(model).__name__, target, programmed)


def _relative(
    exact: Float32[np.ndarray, "out in"], programmed: Float32[np.ndarray, "out in"]
) -> tuple[Float32[np.ndarray, " weights"], Float32[np.ndarray, " weights"]]:
    largest = float(np.abs(exact).max())
    unit = np.float32(largest if largest > 0 else 1.0)
    return exact.ravel() / unit, programmed.ravel() / unit


@arguments.answered
@drawn
def plot_programming_error(error: ProgrammingError | ChipSubject | nnx.Module, ax: Axes | None = None) -> Figure:
    """Draw the histogram of the errors of programming, and the errors against the target weight.

    Args:
        error: From :func:`compute_programming_error`; a model, noise model, tile configuration with one, or name of a
            preset or noise model is programmed with the defaults.
        ax: Where to draw the errors against the target alone; by default a new figure has both.

    Raises:
        ConfigError: If the subject is not known or has no noise model.
        ModuleError: If a model has no analog layer.
        MissingExtraError: If matplotlib is not installed.
    """
    if ax is not None:
        figure, ax = axes(ax)
        ax.set_title(_draw_against_target(_computed(error), ax))
        legend_above(ax)
        return figure
    figure, (left, right) = panels(2)
    error = _computed(error)
    _draw_histogram(error, left)
    _draw_against_target(error, right)
    legend_above(right)
    figure.suptitle(error.name, fontsize=9)
    return figure


def _computed(error: ProgrammingError | ChipSubject | nnx.Module) -> ProgrammingError:
    return error if isinstance(error, ProgrammingError) else compute_programming_error(error)


def _draw_histogram(error: ProgrammingError, ax: Axes) -> None:
    percent = 100 * error.error
    ax.hist(percent, 60, color=BLUE, alpha=0.7)
    ax.axvline(0, color=GREY, lw=0.6)
    ax.set(xlabel="error (% of the largest weight)", ylabel="weights")
    ax.set_title(f"mean {percent.mean():.2g} %, standard deviation {percent.std():.3g} %")
    number_ticks(ax)


def _draw_against_target(error: ProgrammingError, ax: Axes) -> str:
    percent = 100 * error.error
    chosen = slice(None, None, max(1, len(percent) // _DRAWN_POINTS))
    ax.plot(error.target[chosen], percent[chosen], ".", color=BLUE, ms=1.5, alpha=0.3, mew=0, rasterized=True)
    band = spread_over(error.target, percent)
    ax.axhline(0, color=GREY, lw=0.6)
    ax.plot(band.places, band.mean, color=RED, lw=1, label="mean")
    ax.plot(band.places, band.mean + band.std, "--", color=RED, lw=0.8, label="mean ± standard deviation")
    ax.plot(band.places, band.mean - band.std, "--", color=RED, lw=0.8)
    ax.set(xlabel="exact weight / largest weight", ylabel="error (% of the largest weight)")
    number_ticks(ax)
    return error.name
