"""``aihwjax infer``: the network of a file on chips, over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aihwjax.errors import DataError

if TYPE_CHECKING:
    from aihwjax.chip_results import InferenceResult


def infer(
    config: Path,
    /,
    *,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    weights: str | None = None,
    repeats: int | None = None,
    time: float | None = None,
    key: int | None = None,
    device: str | None = None,
    data: Path | None = None,
    json: Path | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Program the network of a TOML file onto chips and print how good they are over time.

    Args:
        config: TOML file with the sections experiment, model and tile.
        set_: Change a value, such as noise_model.read_noise_scale=2 or inference_time=3600; may be repeated.
        weights: Trained weights: a .safetensors or .npz file, the model folder of aihwjax train, or an address.
        repeats: Chips, each programmed anew.
        time: The last time, in seconds after programming.
        key: Seed of initial weights and noise.
        device: Where to compute, such as cpu, gpu or gpu:1.
        data: Folder of the data set's files.
        json: File for the result, of all chips and of each.
        quiet: Print nothing.
    """
    from aihwjax.compiling import compile_cache
    from aihwjax.experiments import files, inference_files
    from aihwjax.experiments.devices import find_device, on_device
    from aihwjax.experiments.entries import INFERENCE_SETTINGS
    from aihwjax.experiments.inferring import run_local_inference

    compile_cache()
    given = {"weight_template_id": weights, "inference_repeats": repeats, "inference_time": time}
    changes = [*set_, *files.assigned("experiment", given)]
    described = inference_files.build(files.assign(inference_files.read(config), changes, INFERENCE_SETTINGS), key)
    if data is not None and not data.is_dir():  # else a download would make a folder that was mistyped
        raise DataError(f"--data={str(data)!r} is no folder: give the one of the data set's files")
    with on_device(find_device(device)):
        found = run_local_inference(
            described.experiment,
            described.key,
            data,
            described.max_elements,
            n_inference_times=described.n_inference_times,
            progress=not quiet,
        )
    if json is not None:
        _write(json, found)
    if not quiet:
        print_inference(found)


def print_inference(found: InferenceResult) -> None:
    """Print the result of an inference experiment, one line a time.

    Args:
        found: The result.
    """
    from rich.console import Console
    from rich.table import Table

    entries = found["inference_runs"]["inference_results"]
    classes = all("avg_accuracy" in entry for entry in entries)
    table = Table("time", *(["accuracy", "spread", "error"] if classes else []), "loss")
    for column in table.columns:
        column.justify = "right"
    for entry in entries:
        scores = [entry["avg_accuracy"], entry["std_accuracy"], entry["avg_error"]] if classes else []
        percents = (f"{score:.2f} %" for score in scores)
        table.add_row(f"{entry['t_inference']:.5g} s", *percents, f"{entry['avg_loss']:.4f}")
    console = Console()
    console.print(table)
    runs = found["inference_runs"]
    chips = f"{runs['inference_repeat']} chip{'s' if runs['inference_repeat'] != 1 else ''}"
    console.print(f"{chips} in {runs['time_elapsed']:.1f} s", highlight=False)


def _write(path: Path, found: InferenceResult) -> None:
    """Write a result as JSON, which knows no numbers that are not finite: they are null."""
    import json

    from aihwjax.chip_results import finite
    from aihwjax.experiments.metrics import write_text

    write_text(path, json.dumps(finite(found), indent=2) + "\n")
