"""``aihwjax plot``: figures of a preset, of a file's tile, and of runs. JAX is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from aihwjax.tile.config import TileConfig

app = App(name="plot", help="Draw a device, a tile or learning curves into a PNG, SVG or PDF file.")

_Output = Annotated[Path, Parameter(alias="-o")]


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Options of every figure of a tile."""

    output: _Output
    """File to write; its suffix is png, svg or pdf."""
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = ()
    """Change a value, such as device.dw_min=0.002; may be repeated."""
    key: int = 0
    """Seed of the devices and all noise."""


@app.command
def device(preset: str, /, *, options: Options, pulses: int | None = None) -> None:
    """Draw pulse response, step size and symmetry point together.

    Args:
        preset: Name of a preset or of a class of devices, or a TOML file with a section tile.
        options: Output, changes and key.
        pulses: Up pulses of a cycle; by default enough to cross the range.
    """
    config = _prepared(preset, options)
    from aihwjax.plot import plot_device

    _write(plot_device(config, pulses=pulses, key=options.key), preset, options.output)


@app.command
def pulse_response(
    preset: str, /, *, options: Options, pulses: int | None = None, cycles: int = 2, crosspoints: int = 512
) -> None:
    """Draw the weights under up and down pulses.

    Args:
        preset: Name of a preset or of a class of devices, or a TOML file with a section tile.
        options: Output, changes and key.
        pulses: Up pulses of a cycle; by default enough to cross the range.
        cycles: How often up and down pulses are repeated.
        crosspoints: How many crosspoints are pulsed.
    """
    config = _prepared(preset, options)
    from aihwjax.plot import compute_pulse_response, plot_pulse_response

    response = compute_pulse_response(config, pulses=pulses, cycles=cycles, crosspoints=crosspoints, key=options.key)
    _write(plot_pulse_response(response), preset, options.output)


@app.command
def step_size(preset: str, /, *, options: Options, crosspoints: int = 512, burst: int = 1) -> None:
    """Draw the size of an up and a down step against the weight.

    Args:
        preset: Name of a preset or of a class of devices, or a TOML file with a section tile.
        options: Output, changes and key.
        crosspoints: How many crosspoints are pulsed.
        burst: Pulses between two readings, for compounds that move their visible weight now and then.
    """
    config = _prepared(preset, options)
    from aihwjax.plot import compute_pulse_statistics, plot_pulse_statistics

    statistics = compute_pulse_statistics(config, crosspoints=crosspoints, burst=burst, key=options.key)
    _write(plot_pulse_statistics(statistics), preset, options.output)


@app.command
def symmetry_point(preset: str, /, *, options: Options, pairs: int | None = None, crosspoints: int = 512) -> None:
    """Draw how alternating pulses lead to the symmetry point, and its histogram.

    Args:
        preset: Name of a preset or of a class of devices, or a TOML file with a section tile.
        options: Output, changes and key.
        pairs: Pairs of an up and a down pulse; by default enough to cross the range twice.
        crosspoints: How many crosspoints are pulsed.
    """
    config = _prepared(preset, options)
    from aihwjax.plot import compute_symmetry_points, plot_device_symmetry

    points = compute_symmetry_points(config, pairs=pairs, crosspoints=crosspoints, key=options.key)
    _write(plot_device_symmetry(points), preset, options.output)


@app.command
def weights(
    preset: str, /, *, options: Options, updates: int = 400, crosspoints: int = 4, learning_rate: float = 0.05
) -> None:
    """Draw the visible and hidden weights of a tile that learns a random matrix.

    Args:
        preset: Name of a preset or of a class of devices, or a TOML file with a section tile.
        options: Output, changes and key.
        updates: Number of mini-batches.
        crosspoints: How many crosspoints are drawn, at most 8.
        learning_rate: Of the pulsed update.
    """
    config = _prepared(preset, options)
    from aihwjax.plot import compute_weight_traces, plot_weights

    traces = compute_weight_traces(
        config, updates=updates, crosspoints=crosspoints, learning_rate=learning_rate, key=options.key
    )
    _write(plot_weights(traces), preset, options.output)


@app.command
def mvm_error(preset: str, /, *, options: Options, in_size: int = 256, vectors: int = 128) -> None:
    """Draw the error of the forward product against the exact one.

    Args:
        preset: Name of a preset of a tile or product, or a TOML file with a section tile; of a device, which has
            no converters, a tile with the default ones is drawn.
        options: Output, changes and key.
        in_size: Number of inputs.
        vectors: Number of input vectors.
    """
    config = _prepared(preset, options)
    from aihwjax.devices import Device
    from aihwjax.plot import compute_mvm_error, plot_mvm_error
    from aihwjax.plot.mvm_error import DEFAULT_CONVERTERS
    from aihwjax.plot.subject import named

    error = compute_mvm_error(config, in_size=in_size, vectors=vectors, key=options.key)
    without = not preset.endswith(".toml") and isinstance(named(preset), Device)
    _write(plot_mvm_error(error), preset, options.output, f", {DEFAULT_CONVERTERS}" if without else "")
    if without:
        print(f"{preset} is a device and has no converters: these are the {DEFAULT_CONVERTERS}")


@app.command
def learning_curve(*runs: Path, output: _Output) -> None:
    """Draw losses and accuracies of one or several runs.

    Args:
        runs: Output folders of aihwjax train, or files metrics.jsonl.
        output: File to write; its suffix is png, svg or pdf.
    """
    _ready(output)
    from aihwjax.plot import plot_learning_curves, save

    save(plot_learning_curves(runs), output)
    print(f"wrote {output}")


def _ready(output: Path) -> None:
    """Refuse what would fail after the work is done."""
    from aihwjax.plot.style import check_suffix, pyplot

    check_suffix(output)
    pyplot()


def _prepared(preset: str, options: Options) -> TileConfig:
    _ready(options.output)
    from aihwjax.compiling import compile_cache
    from aihwjax.experiments import files

    compile_cache()
    if preset.endswith(".toml"):
        document: Mapping[str, Any] = files.read(preset)
    else:
        document = {"tile": _tile_of_preset(preset)}
    return files.build_tile(files.assign(document, options.set_))


def _tile_of_preset(name: str) -> Mapping[str, Any]:
    """Return the section ``tile`` for a preset of a tile, a device or a product, or for a class of devices."""
    from aihwjax.devices import Device
    from aihwjax.errors import ConfigError
    from aihwjax.plot.subject import DEVICES, named
    from aihwjax.tile.config import TileConfig
    from aihwjax.tile.product.io import IOParameters

    found = named(name)
    if name in DEVICES:
        return {"device": {"class": name}}
    if isinstance(found, TileConfig):
        return {"preset": name}
    if isinstance(found, Device):
        return {"device": {"preset": name}}
    if isinstance(found, IOParameters):
        return {"device": {"class": "FloatingPointDevice"}, "forward": {"preset": name}}
    raise ConfigError(f"{name!r} cannot be drawn: it is a preset of {type(found).__name__}, not of a device or tile")


def _write(figure: Figure, preset: str, output: Path, more: str = "") -> None:
    """Write the figure under the name that the user gave, and more."""
    from aihwjax.plot import save

    name = (Path(preset).stem if preset.endswith(".toml") else preset) + more
    if figure.get_suptitle():
        figure.suptitle(name, fontsize=9)
    else:
        figure.axes[0].title.set_text(name)  # where it is, above the legend
    save(figure, output)
    print(f"wrote {output}")
