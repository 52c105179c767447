"""``aihwjax plot``: figures of a preset, of a file's tile, and of runs. JAX is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from aihwjax.commands import chip_figures
from aihwjax.commands.figures import Options, Output, prepared, ready, write

app = App(name="plot", help="Draw a device, a tile, a chip or learning curves into a PNG, SVG or PDF file.")


@app.command
def device(preset: str, /, *, options: Options, pulses: int | None = None) -> None:
    """Draw pulse response, step size and symmetry point together.

    Args:
        preset: Name of a preset or of a class of devices, or a TOML file with a section tile.
        options: Output, changes and key.
        pulses: Up pulses of a cycle; by default enough to cross the range.
    """
    config = prepared(preset, options)
    from aihwjax.plot import plot_device

    write(plot_device(config, pulses=pulses, key=options.key), preset, options.output)


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
    config = prepared(preset, options)
    from aihwjax.plot import compute_pulse_response, plot_pulse_response

    response = compute_pulse_response(config, pulses=pulses, cycles=cycles, crosspoints=crosspoints, key=options.key)
    write(plot_pulse_response(response), preset, options.output)


@app.command
def step_size(preset: str, /, *, options: Options, crosspoints: int = 512, burst: int = 1) -> None:
    """Draw the size of an up and a down step against the weight.

    Args:
        preset: Name of a preset or of a class of devices, or a TOML file with a section tile.
        options: Output, changes and key.
        crosspoints: How many crosspoints are pulsed.
        burst: Pulses between two readings, for compounds that move their visible weight now and then.
    """
    config = prepared(preset, options)
    from aihwjax.plot import compute_pulse_statistics, plot_pulse_statistics

    statistics = compute_pulse_statistics(config, crosspoints=crosspoints, burst=burst, key=options.key)
    write(plot_pulse_statistics(statistics), preset, options.output)


@app.command
def symmetry_point(preset: str, /, *, options: Options, pairs: int | None = None, crosspoints: int = 512) -> None:
    """Draw how alternating pulses lead to the symmetry point, and its histogram.

    Args:
        preset: Name of a preset or of a class of devices, or a TOML file with a section tile.
        options: Output, changes and key.
        pairs: Pairs of an up and a down pulse; by default enough to cross the range twice.
        crosspoints: How many crosspoints are pulsed.
    """
    config = prepared(preset, options)
    from aihwjax.plot import compute_symmetry_points, plot_device_symmetry

    points = compute_symmetry_points(config, pairs=pairs, crosspoints=crosspoints, key=options.key)
    write(plot_device_symmetry(points), preset, options.output)


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
    config = prepared(preset, options)
    from aihwjax.plot import compute_weight_traces, plot_weights

    traces = compute_weight_traces(
        config, updates=updates, crosspoints=crosspoints, learning_rate=learning_rate, key=options.key
    )
    write(plot_weights(traces), preset, options.output)


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
    config = prepared(preset, options)
    from aihwjax.devices import Device
    from aihwjax.plot import compute_mvm_error, plot_mvm_error
    from aihwjax.plot.mvm_error import DEFAULT_CONVERTERS
    from aihwjax.plot.subject import named

    error = compute_mvm_error(config, in_size=in_size, vectors=vectors, key=options.key)
    without = not preset.endswith(".toml") and isinstance(named(preset), Device)
    write(plot_mvm_error(error), preset, options.output, f", {DEFAULT_CONVERTERS}" if without else "")
    if without:
        print(f"{preset} is a device and has no converters: these are the {DEFAULT_CONVERTERS}")


@app.command
def learning_curve(*runs: Path, output: Output) -> None:
    """Draw losses and accuracies of one or several runs.

    Args:
        runs: Output folders of aihwjax train, or files metrics.jsonl.
        output: File to write; its suffix is png, svg or pdf.
    """
    ready(output)
    from aihwjax.plot import plot_learning_curves, save

    save(plot_learning_curves(runs), output)
    print(f"wrote {output}")


for figure in (
    chip_figures.programming_error,
    chip_figures.conductance_error,
    chip_figures.weight_drift,
    chip_figures.accuracy_over_time,
):
    app.command(figure)
