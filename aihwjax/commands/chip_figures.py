"""``aihwjax plot`` for chips: programming, conductances, drift, and accuracy over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from aihwjax.commands.figures import Options, prepared, write

if TYPE_CHECKING:
    from aihwjax.tile.config import TileConfig

_Times = Annotated[tuple[float, ...], Parameter(name="--time", negative=())]


def programming_error(preset: str, /, *, options: Options) -> None:
    """Draw the errors that programming makes: their histogram, and against the weight.

    Args:
        preset: Name of a preset of inference tiles or of a class of noise models, or a TOML file with a section tile.
        options: Output, changes and key.
    """
    config = _prepared_chip(preset, options)
    from aihwjax.plot import compute_programming_error, plot_programming_error

    error = compute_programming_error(config, key=options.key)
    write(plot_programming_error(error), preset, options.output)


def conductance_error(preset: str, /, *, options: Options) -> None:
    """Draw the conductance of every device right after programming against its target.

    Args:
        preset: Name of a preset of inference tiles or of a class of noise models, or a TOML file with a section tile.
        options: Output, changes and key.
    """
    config = _prepared_chip(preset, options)
    from aihwjax.plot import compute_conductance_error, plot_conductance_error

    error = compute_conductance_error(config, key=options.key)
    write(plot_conductance_error(error), preset, options.output)


def weight_drift(preset: str, /, *, options: Options, times: _Times = (), crosspoints: int = 128) -> None:
    """Draw how small and large weights of a chip change with time.

    Args:
        preset: Name of a preset of inference tiles or of a class of noise models, or a TOML file with a section tile.
        options: Output, changes and key.
        times: Seconds after programming; may be repeated, ascending. By default from a second to a year.
        crosspoints: How many weights of each size are programmed.
    """
    config = _prepared_chip(preset, options)
    from aihwjax.plot import compute_weight_drift, plot_weight_drift

    drift = compute_weight_drift(config, times=times or None, crosspoints=crosspoints, key=options.key)
    write(plot_weight_drift(drift), preset, options.output)


def accuracy_over_time(
    preset: str, /, *, options: Options, times: _Times = (), chips: int = 10, hidden: int = 64, epochs: int = 4
) -> None:
    """Train a small network on the 10,000 digits that come with the library, and draw the accuracy of chips over time.

    Args:
        preset: Name of a preset of inference tiles or of a class of noise models, or a TOML file with a section tile.
        options: Output, changes and key.
        times: Seconds after programming; may be repeated, ascending. By default from a second to a year.
        chips: How many chips are programmed.
        hidden: Size of the hidden layer.
        epochs: Epochs of training.
    """
    config = _prepared_chip(preset, options)
    from aihwjax.plot import compute_accuracy_over_time, plot_accuracy_over_time

    table = compute_accuracy_over_time(
        config, times=times or None, chips=chips, hidden=hidden, epochs=epochs, key=options.key
    )
    write(plot_accuracy_over_time(table), preset, options.output)


def _prepared_chip(preset: str, options: Options) -> TileConfig:
    """Return the configuration of tiles that become chips, of a file, a preset or a noise model."""
    config = prepared(preset, options, _section)
    from aihwjax.plot.chip_subject import chip_config

    return chip_config(config)


def _section(name: str) -> Mapping[str, Any]:
    """Return the section ``tile`` for a preset of inference tiles or a class of noise models."""
    from aihwjax.plot.chip_subject import NOISE_MODELS, chip_config

    if name in NOISE_MODELS:
        return {"class": "InferenceRPUConfig", "noise_model": {"class": name}}
    chip_config(name)
    return {"preset": name}
