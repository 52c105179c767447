"""``aihwjax fit``: fit a device to measured pulse curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def fit(
    measurements: Path,
    /,
    *,
    model: str = "SoftBoundsDevice",
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    weight_range: tuple[float, float] | None = None,
    restarts: int = 4,
    key: int = 0,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    plot: Path | None = None,
) -> None:
    """Fit the parameters of a device and their spread to measured pulse curves, and print them with their errors.

    The file has the columns conductance (or weight), pulses (since the row before, negative for down pulses) and, of
    several devices, device.

    Args:
        measurements: CSV file.
        model: Class of devices or preset of one, with whose values the search begins.
        set_: Change a value of the model, such as gamma_up=0.3; may be repeated.
        weight_range: Weights to which the smallest and the largest conductance are mapped; by default -1 and 1.
        restarts: Starts of the search, in one compiled call.
        key: Seed of the other starts.
        output: TOML file for the fitted device.
        plot: Figure of the curves and the fitted device; its suffix is png, svg or pdf.
    """
    if plot is not None:
        from aihwjax.commands.figures import ready

        ready(plot)
    from rich.console import Console

    from aihwjax import config as configs
    from aihwjax.compiling import compile_cache
    from aihwjax.experiments.metrics import write_text
    from aihwjax.fitting import fit_device
    from aihwjax.fitting.fit import model_of

    compile_cache()
    given = model_of(model)
    if set_:
        given = given.replace(_assigned(set_))
    found = fit_device(measurements, given, weight_range=weight_range, restarts=restarts, key=key)
    console = Console()
    console.print(found.table())
    devices, readings = found.curves.weights.shape[1], int(found.curves.known.sum())
    console.print(
        f"{type(found.device).__name__}, {readings} readings of {devices} device{'s' if devices > 1 else ''}: "
        f"R² = {found.r_squared:.4f}, chi² = {found.chi_square:.3f}, residual {found.residual:.3g}",
        highlight=False,
    )
    if found.read_noise > 0:
        console.print(f"readings have noise of {found.read_noise:.3g} weight units", highlight=False)
    if output is not None:
        write_text(output, configs.to_toml(found.device))
        print(f"wrote {output}")
    if plot is not None:
        from aihwjax.plot import plot_device_fit, save

        save(plot_device_fit(found), plot)
        print(f"wrote {plot}")


def _assigned(changes: tuple[str, ...]) -> dict[str, object]:
    """Return the changes ``name=value`` of a command line, with values as in TOML."""
    from aihwjax.config import read_toml
    from aihwjax.errors import ConfigError

    found: dict[str, object] = {}
    for change in changes:
        name, separator, value = change.partition("=")
        if not separator:
            raise ConfigError(f"--set {change} is not allowed: give a name and a value, such as gamma_up=0.3")
        try:
            found[name.strip()] = read_toml(f"value = {value}")["value"]
        except ConfigError:
            found[name.strip()] = value
    return found
