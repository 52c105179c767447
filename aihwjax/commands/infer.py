"""``aihwjax infer``: the network of a file on chips, over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from aihwjax.commands.data_folder import check_data_folder
from aihwjax.commands.tables import print_inference

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
    check_data_folder(data)
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


def _write(path: Path, found: InferenceResult) -> None:
    """Write a result as JSON, which knows no numbers that are not finite: they are null."""
    import json

    from aihwjax.chip_results import finite
    from aihwjax.experiments.metrics import write_text

    write_text(path, json.dumps(finite(found), indent=2) + "\n")
