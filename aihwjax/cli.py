"""The command line: ``aihwjax train``, ``sweep``, ``summary``, ``export``, ``presets``, ``plot``, ``cloud``...

Exit codes: 0 success, 1 a golden case or an experiment in the cloud failed, 2 a mistake of the user
(one line on stderr), 130 interrupted. JAX is imported by the commands only, so that ``--help`` is fast.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from aihwjax.commands.cloud import app as cloud
from aihwjax.commands.composer import app as composer
from aihwjax.commands.data_folder import check_data_folder
from aihwjax.commands.fit import fit
from aihwjax.commands.infer import infer
from aihwjax.commands.models import export, summary
from aihwjax.commands.physics import physics
from aihwjax.commands.plot import app as plot
from aihwjax.commands.sweep import sweep
from aihwjax.commands.tables import print_metrics
from aihwjax.errors import AihwjaxError, ConfigError

if TYPE_CHECKING:
    from aihwjax.experiments.files import ExperimentFile
    from aihwjax.experiments.metrics import EpochMetrics

app = App(
    name="aihwjax",
    help="Simulate and train neural networks on analog in-memory computing hardware.",
    suppress_keyboard_interrupt=False,  # what was interrupted is said below
)
app.command(infer)
app.command(sweep)
app.command(fit)
app.command(summary)
app.command(export)
app.command(physics)
app.command(plot)
app.command(cloud)
app.command(composer)

_PLAIN = Parameter(negative=())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code.

    Args:
        arguments: Words of the command line; ``None``: those of the process.
    """
    try:
        return app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except (CycloptsError, AihwjaxError) as error:
        print(f"aihwjax: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"aihwjax: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"aihwjax: there is not enough memory: {' '.join(str(error).split()) or 'give less'}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(f"aihwjax: interrupted{interruption}", file=sys.stderr)
        return 130


@app.command
def train(
    config: Path,
    /,
    *,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    output: Path | None = None,
    key: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    data: Path | None = None,
    keep_best: str | None = None,
    best: Literal["smallest", "largest"] | None = None,
    quiet: Annotated[bool, _PLAIN] = False,
) -> None:
    """Train the network of a TOML file and print its metrics.

    With --output, a run that was interrupted continues where it was when it is started again.

    Args:
        config: TOML file with the sections experiment, model and tile.
        set_: Change a value, such as device.dw_min=0.002 or learning_rate=0.1; may be repeated.
        output: Folder for metrics.jsonl, config.toml, checkpoints and the trained model.
        key: Seed of initial weights, shuffling and noise.
        epochs: Passes over the training set.
        device: Where to compute, such as cpu, gpu or gpu:1.
        data: Folder of the data set's files.
        keep_best: Keep the model of the best epoch by this metric, such as valid_loss, among the checkpoints.
        best: Whether the smallest or the largest value is the best; by default as the metric's name says.
        quiet: Print nothing.
    """
    from aihwjax.compiling import compile_cache
    from aihwjax.experiments import files
    from aihwjax.experiments.devices import find_device, on_device

    compile_cache()
    changes = files.assigned("experiment", {"epochs": epochs, "keep_best": keep_best, "best": best})
    document = files.assign(files.read(config), [*set_, *changes])
    with on_device(find_device(device)):
        _train(files.build(document, key), output, data, quiet)


@app.command
def fidelity(
    folder: Path,
    /,
    *,
    json: Path | None = None,
    html: Path | None = None,
    family: Annotated[tuple[str, ...], _PLAIN] = (),
    mode: Annotated[tuple[str, ...], _PLAIN] = ("aggregated",),
    jobs: int | None = None,
    case: str | None = None,
) -> int:
    """Compare the simulator with recorded statistics of the reference and print a table.

    Args:
        folder: Folder of golden cases.
        json: File for one record a case.
        html: File for a report with pictures of both statistics of every case.
        family: Only these families of cases, such as update or mvm; may be repeated.
        mode: Update mode, aggregated or sequential; may be repeated.
        jobs: Processes; by default one a processor.
        case: Only cases whose name matches this pattern.
    """
    from rich.console import Console

    from aihwjax import fidelity as comparison
    from aihwjax.compiling import compile_cache

    compile_cache()
    if html is not None:
        comparison.check_installed()
    chosen = family or None
    records = comparison.run(folder, families=chosen, pattern=case, modes=mode, jobs=jobs, keep=html is not None)
    if json is not None:
        comparison.write_json(records, json)
    if html is not None:
        comparison.write_html(records, html)
    console = Console()
    console.print(comparison.table(records))
    console.print(comparison.family_table(records))
    return 0 if all(record.passed for record in records) else 1


@app.command
def presets(
    pattern: str | None = None,
    /,
    *,
    family: str | None = None,
    device: str | None = None,
    toml: Annotated[bool, _PLAIN] = False,
) -> None:
    """List the presets, or show one of them.

    Args:
        pattern: Name of the preset to show, or a text to look for.
        family: Only this family, such as tiki-taka.
        device: Only presets with such a device, such as reram or ExpStep.
        toml: Print the preset as TOML, to be pasted below [tile] in an experiment's file.
    """
    from aihwjax.commands.presets import show

    show(pattern, family, device, toml)


def _train(described: ExperimentFile, output: Path | None, data: Path | None, quiet: bool) -> None:
    from aihwjax.experiments import files, load_data, save
    from aihwjax.experiments import fit as train_model
    from aihwjax.experiments.metrics import MetricsFile, write_text
    from aihwjax.experiments.storage import holds_records, writable

    experiment, resolved = described.experiment, files.to_toml(described.resolved)
    checkpoints = None if output is None else output / "checkpoints"
    if described.keep_best is not None and output is None:
        raise ConfigError(f"keep_best={described.keep_best!r} needs a folder to keep it in: give --output")
    check_data_folder(data)
    splits = load_data(experiment, data, described.max_elements_train)  # before anything is written
    if output is not None and checkpoints is not None:
        writable(output)
        if not holds_records(checkpoints):  # else it describes what is there until that is known to be the same
            write_text(output / "config.toml", resolved)
    reports = [] if output is None else [MetricsFile(output / "metrics.jsonl")]
    done = 0

    def count(metrics: list[EpochMetrics]) -> None:
        nonlocal done
        done = len(metrics)

    try:
        model, metrics = train_model(
            experiment,
            splits,
            described.key,
            reports=[*reports, count],
            checkpoint_dir=checkpoints,
            progress=not quiet,
            keep_best=described.keep_best,
            best=described.best,
        )
    except KeyboardInterrupt:
        kept = "nothing is kept without --output" if output is None else "the same command goes on from there"
        raise KeyboardInterrupt(f" after {done} of {experiment.epochs} epochs: {kept}") from None
    if output is not None:
        write_text(output / "config.toml", resolved)
        save(output / "model", model)
    if not quiet:
        print_metrics(metrics)


if __name__ == "__main__":
    sys.exit(main())
