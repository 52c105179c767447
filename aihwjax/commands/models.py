"""``aihwjax summary`` and ``aihwjax export``: the model of a file, of a run, or of a folder that was saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from aihwjax.commands.data_folder import check_data_folder
from aihwjax.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import jax
    from flax import nnx

    from aihwjax.experiments.files import ExperimentFile

_Changes = Annotated[tuple[str, ...], Parameter(name="--set", negative=())]


def summary(
    source: Path,
    /,
    *,
    set_: _Changes = (),
    batch: int = 1,
    shape: str | None = None,
    data: Path | None = None,
) -> None:
    """Print what one call of a model does on tiles: tiles, products, energy and time of each layer.

    Args:
        source: TOML file of an experiment, output folder of aihwjax train, or folder of a saved model.
        set_: Change a value of the TOML file, such as tile.mapping.max_input_size=256; may be repeated.
        batch: Number of examples in the call.
        shape: Sizes of one example, such as 1,28,28; by default those of the data set.
        data: Folder of the data set's files.
    """
    from rich.console import Console

    from aihwjax.nn.summary import analog_summary

    model, example = model_and_example(source, set_, batch, shape, data)
    found = analog_summary(model, example)
    console = Console()
    if console.is_terminal:
        console.print(found)
    else:
        print(found)


def export(
    source: Path,
    output: Path,
    /,
    *,
    set_: _Changes = (),
    platforms: str = "cpu,cuda,tpu",
    batch: int | None = None,
    shape: str | None = None,
    data: Path | None = None,
    best: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a model as one program that runs with JAX alone.

    Args:
        source: Output folder of aihwjax train, folder of a saved model, or TOML file of an experiment.
        output: File to write.
        set_: Change a value of the TOML file; may be repeated.
        platforms: Where it shall run, of cpu, cuda, rocm and tpu.
        batch: Number of examples of each call; by default any.
        shape: Sizes of one example, such as 1,28,28; by default those of the data set.
        data: Folder of the data set's files.
        best: Take the model of the best epoch of a run that was given --keep-best.
    """
    from aihwjax.nn.exporting import export as write

    model, example = model_and_example(source, set_, batch or 1, shape, data, best=best)
    chosen = [name.strip() for name in platforms.split(",")]
    write(model, example, path=output, platforms=chosen, batch="fixed" if batch else "symbolic")
    print(f"wrote {output}")


def model_and_example(
    source: Path, changes: tuple[str, ...], batch: int, shape: str | None, data: Path | None, *, best: bool = False
) -> tuple[nnx.Module, jax.ShapeDtypeStruct]:
    """Return a model in the mode for evaluation, and shape and type of its input.

    Args:
        source: A TOML file, the folder of a run, or one of a saved model.
        changes: Values of the TOML file.
        batch: Number of examples.
        shape: Sizes of one example, as text; ``None``: those of the data set.
        data: Folder of the data set's files.
        best: Whether the best epoch of a run is meant.

    Raises:
        ConfigError: If something is not allowed, or nothing says the shape.
        CheckpointError: If there is no model.
        DataError: If the data set is missing.
    """
    import jax

    if batch < 1:
        raise ConfigError(f"--batch={batch} is not allowed: give a whole number of at least 1")
    model, described = _model(source, changes, best)
    if shape is not None:
        sizes, kind = _sizes(shape), "float32"
    elif described is not None:
        sizes, kind = _from_data(described, data)
    else:
        raise ConfigError(f"{str(source)!r} does not say what its inputs are: give --shape, such as --shape 1,28,28")
    model.eval()
    return model, jax.ShapeDtypeStruct((batch, *sizes), kind)


def _model(source: Path, changes: tuple[str, ...], best: bool) -> tuple[Any, ExperimentFile | None]:
    from aihwjax.experiments import files, load, load_best

    described_by = source / "config.toml" if source.is_dir() else source
    run = source.is_dir() and described_by.is_file()
    if source.is_dir() and changes:
        raise ConfigError(f"--set {changes[0]!r} is not allowed: {str(source)!r} is a folder, its model is as it is")
    if best and not run:
        raise ConfigError(f"--best is not allowed: {str(source)!r} is no folder of a run")
    if source.is_dir() and not run:
        return load(source), None
    described = files.build(files.assign(files.read(described_by), changes))
    if not run:
        import flax.nnx

        return flax.nnx.clone(described.experiment.model), described
    if best:
        return load_best(source / "checkpoints")[0], described
    if not (source / "model").is_dir():
        raise CheckpointError(f"{str(source)!r} has no trained model: the run has not ended; start it again")
    return load(source / "model"), described


def _from_data(described: ExperimentFile, data: Path | None) -> tuple[tuple[int, ...], str]:
    from aihwjax.experiments import load_data

    check_data_folder(data)
    splits = load_data(described.experiment, data, 1)
    return splits.train_x.shape[1:], str(splits.train_x.dtype)


def _sizes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--shape={text!r} is not allowed: give the sizes of one example, such as 1,28,28")
    return tuple(map(int, parts))
