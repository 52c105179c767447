"""Conductances of single devices against what they should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Float, Float32
from numpy.typing import ArrayLike

from aihwjax import arguments, random
from aihwjax.inference.chip import model_of
from aihwjax.plot.chip_subject import ChipSubject, chip_config, chip_name, weights_to_program
from aihwjax.plot.spread import Spread, spread_over
from aihwjax.plot.style import GREY, axes, drawn, legend_above, number_ticks
from aihwjax.plot.subject import Seed, key_of
from aihwjax.tile.config import TileConfig
from aihwjax.typing import Key, Weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_DRAWN_POINTS = 3000


@arguments.answering
@dataclass(frozen=True)
class ConductanceError:
    """Conductances of the devices of each crosspoint right after programming; in microsiemens."""

    name: str
    """What was programmed."""
    target: Float32[np.ndarray, "devices crosspoints"]
    """What the converter asks for; the devices of a pair are up and down in turn."""
    programmed: Float32[np.ndarray, "devices crosspoints"]
    """What programming made of it."""

    @property
    def labels(self) -> list[str]:
        """Names of the devices of a crosspoint: ``+`` and ``−`` of each pair, with its number if there are several."""
        count = len(self.target)
        if count % 2:
            return [f"device {number}" for number in range(1, count + 1)] if count > 1 else ["device"]
        numbers = [""] if count == 2 else [f" {number}" for number in range(1, count // 2 + 1)]
        return [f"{sign} device{number}" for number in numbers for sign in ("+", "−")]


@arguments.answered
def compute_conductance_error(
    subject: ChipSubject, *, weights: ArrayLike | None = None, key: Seed = 0
) -> ConductanceError:
    """Program weights and return the conductance of every device beside its target.

    These are the conductances behind ``aihwjax.inference.program(config, weights, key)``, draw by draw.

    Args:
        subject: Noise model, tile configuration with one, or the name of a preset or noise model.
        weights: Matrix ``(out, in)``; by default 64 × 256 weights, evenly from -1 to 1.
        key: Key or seed of the programming noise.

    Raises:
        ConfigError: If the subject is not known or has no noise model.
        ShapeError: If ``weights`` is no matrix.
        NonFiniteError: If a weight is NaN or infinite.
    """
    config, matrix = chip_config(subject), weights_to_program(weights)
    target, programmed = _programmed(config, matrix, key_of(key))
    return ConductanceError(chip_name(subject), np.asarray(target), np.asarray(programmed))


@jax.jit
def _programmed(
    config: TileConfig, weights: Weights, key: Key
) -> tuple[Float[Array, "devices crosspoints"], Float[Array, "devices crosspoints"]]:
    model = model_of(config)
    target, _ = model.g_converter.convert(weights)
    source = random.stream(key, random.NoiseEngine.COUNTER).child("weights")  # as aihwjax.inference.program
    programmed = model.programmed(target, random.stream(source, config.noise_engine).child("programming"))
    return target.reshape(len(target), -1), programmed.reshape(len(target), -1)


@arguments.answered
@drawn
def plot_conductance_error(error: ConductanceError | ChipSubject, ax: Axes | None = None) -> Figure:
    """Draw the conductance of each device against its target, with mean and spread and the line of no error.

    Args:
        error: From :func:`compute_conductance_error`; a noise model, tile configuration with one, or name of a preset
            or noise model is programmed with the defaults.
        ax: Where to draw; by default in a new figure.

    Raises:
        ConfigError: If the subject is not known or has no noise model.
        MissingExtraError: If matplotlib is not installed.
    """
    figure, ax = axes(ax)
    if not isinstance(error, ConductanceError):
        error = compute_conductance_error(error)
    step = max(1, error.target.shape[1] * len(error.target) // _DRAWN_POINTS)
    for label, target, programmed in zip(error.labels, error.target, error.programmed, strict=True):
        (points,) = ax.plot(target[::step], programmed[::step], ".", ms=1.5, alpha=0.35, mew=0, rasterized=True)
        band = spread_over(target, programmed)
        _draw(ax, band, points, label)
    ends = float(error.target.min()), float(error.target.max())
    ax.plot(ends, ends, "--", color=GREY, lw=0.8, label="target")
    ax.set(xlabel="target conductance (µS)", ylabel="programmed conductance (µS)", title=error.name)
    number_ticks(ax)
    legend_above(ax)
    return figure


def _draw(ax: Axes, band: Spread, points: Line2D, label: str) -> None:
    colour = points.get_color()
    ax.fill_between(band.places, band.mean - band.std, band.mean + band.std, color=colour, alpha=0.15, lw=0)
    ax.plot(band.places, band.mean, color=colour, lw=1, label=label)
