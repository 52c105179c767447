"""``aihwjax sweep``: many configurations of the experiment of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from aihwjax.commands.data_folder import check_data_folder
from aihwjax.errors import ConfigError

_PLAIN = Parameter(negative=())


def sweep(
    config: Path,
    /,
    *,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    output: Path | None = None,
    parquet: Annotated[bool, _PLAIN] = False,
    pictures: Annotated[bool, _PLAIN] = False,
    infer: Annotated[bool, _PLAIN] = False,
    key: int | None = None,
    device: str | None = None,
    data: Path | None = None,
    quiet: Annotated[bool, _PLAIN] = False,
) -> None:
    """Train the configurations of a TOML file with a section sweep, and print the plan and the table.

    With --output, a sweep that was interrupted continues where it was when it is started again.

    Args:
        config: TOML file with the sections experiment, model, tile and sweep.
        set_: Change a value, such as sweep.seeds=4 or epochs=2; may be repeated.
        output: Folder for table.csv, config.toml and the rows of each call.
        parquet: Write table.parquet too, and its parts as they come.
        pictures: Draw the table into the folder: curves.svg, parallel.svg and, of two numbers or more, map.svg.
        infer: The file describes an inference experiment: chips over time.
        key: Seed of initial weights, devices, order and noise.
        device: Where to compute, such as cpu, gpu or gpu:1.
        data: Folder of the data set's files.
        quiet: Print nothing.
    """
    from aihwjax.compiling import compile_cache
    from aihwjax.experiments import files, inference_files, sweep_files
    from aihwjax.experiments.devices import find_device, on_device
    from aihwjax.experiments.entries import INFERENCE_SETTINGS, SETTINGS

    if parquet and output is None:
        raise ConfigError("--parquet needs a folder to write to: give --output")
    if pictures and output is None:
        raise ConfigError("--pictures needs a folder to draw into: give --output")
    if pictures:
        from aihwjax.plot.style import pyplot

        pyplot()  # rather now than after hours that nothing can be drawn
    compile_cache()
    document = inference_files.read(config) if infer else files.read(config)
    settings = INFERENCE_SETTINGS if infer else SETTINGS
    document = files.assign(document, set_, settings, sweep_files.SECTIONS)
    check_data_folder(data)
    with on_device(find_device(device)):
        described = sweep_files.build(document, key, infer)
        table = _sweep(described, output, parquet, data, quiet)
    if pictures and output is not None:
        _draw(described, table, output)


def _draw(described: Any, table: Any, folder: Path) -> None:
    from aihwjax import plot

    metric = described.metric or table.metric
    plot.save(plot.plot_sweep_curves(table, metric), folder / "curves.svg")
    plot.save(plot.plot_sweep_parallel(table, metric), folder / "parallel.svg")
    if len(table.numbers) > 1:
        plot.save(plot.plot_sweep_map(table, metric), folder / "map.svg")


def _sweep(described: Any, output: Path | None, parquet: bool, data: Path | None, quiet: bool) -> Any:
    from aihwjax.experiments import files, load_data, load_examples, successive_halving, sweep
    from aihwjax.experiments.inferencing import BasicInferencing
    from aihwjax.experiments.metrics import write_text
    from aihwjax.experiments.storage import writable

    if described.halving is not None and parquet:
        raise ConfigError("--parquet is not allowed with sweep.halving, whose rows come at the end: use table.csv")
    experiment = described.experiment
    load: Any = load_examples if isinstance(experiment, BasicInferencing) else load_data
    examples = load(experiment, data, described.limit)
    options: dict[str, Any] = {"seeds": described.seeds, "key": described.key, "memory": described.memory}
    options |= {"data": examples, "progress": not quiet}
    if output is not None:
        writable(output)
        options |= {"folder": output / "rows", "parquet": parquet}
    if described.halving is not None:
        options |= {"metric": described.metric, "extreme": described.extreme}
        options |= {"factor": described.halving, "first": described.first}
        table = successive_halving(experiment, described.space, **options)
    else:
        table = sweep(experiment, described.space, **options)
    if output is not None:
        write_text(output / "config.toml", files.to_toml(described.resolved))
        table.to_csv(output / "table.csv")
    if not quiet:
        print(table)
        if described.metric is not None:
            best = table.best(described.metric, described.extreme)
            shown = {path: best[path] for path in (*table.paths, described.metric) if path in best}
            print("best:", ", ".join(f"{name}={value}" for name, value in shown.items()))
    return table
