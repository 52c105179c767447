"""``aihwjax cloud``: experiments on a composer, from the command line.

Exit codes: 0 success, 1 the experiment failed or was cancelled, 2 anything else that went wrong.
"""

from __future__ import annotations

import json as json_module
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.types import PositiveFloat, PositiveInt

from aihwjax.chip_results import KIND, finite
from aihwjax.errors import ConfigError
from aihwjax.scores import accuracy_text, scores
from aihwjax.sweep_results import KIND as SWEEP

if TYPE_CHECKING:
    from aihwjax.cloud import CloudExperiment, CloudRunner

app = App(name="cloud", help="Run experiments on a composer: submit, watch, and fetch what they gave.")

_PLAIN = Parameter(negative=())
_SHORT = 8
_UNITS = {KIND: "chips", SWEEP: "networks"}


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Options of every command."""

    url: str | None = None
    """Address of the composer; by default AIHWJAX_API_URL or the configuration file's."""
    json: Annotated[bool, _PLAIN] = False
    """Print JSON."""


@app.command
def submit(
    config: Path,
    /,
    *,
    name: str | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    key: int | None = None,
    device: Literal["cpu", "gpu"] = "cpu",
    keep_best: str | None = None,
    best: Literal["smallest", "largest"] | None = None,
    infer: Annotated[bool, _PLAIN] = False,
    wait: Annotated[bool, _PLAIN] = False,
    options: Options = Options(),
) -> int:
    """Submit the experiment of a TOML file and print its id; with a section sweep, the sweep as one job.

    Args:
        config: TOML file with the sections experiment, model and tile, as for aihwjax train, sweep or infer.
        name: Name of the experiment; by default that of the file.
        set_: Change a value, such as device.dw_min=0.002 or learning_rate=0.1; may be repeated.
        key: Seed of initial weights, shuffling and noise.
        device: Kind of device to ask for.
        keep_best: Keep the model of the best epoch by this metric, such as valid_loss, too; fetch gets both.
        best: Whether the smallest or the largest value is the best; by default as the metric's name says.
        infer: The file is one of aihwjax infer; the weights of its template travel.
        wait: Wait until it has ended and print its metrics.
        options: Address and form of the output.
    """
    runner = _runner(options)  # what fails without a token fails at once
    from aihwjax.experiments import files

    chosen = files.assigned("experiment", {"keep_best": keep_best, "best": best})
    name, changes = name or config.stem, [*set_, *chosen]
    if infer:
        sent = _submit_inference(runner, config, changes, name, key, device)
    elif "sweep" in (document := files.assign(files.read(config), changes, sections=(*files.SECTIONS, "sweep"))):
        from aihwjax.commands.cloud_sweeps import submit_sweep

        if chosen:
            raise ConfigError("--keep-best and --best are not allowed for a sweep, which keeps no model")
        sent = submit_sweep(document, name, key, device, options.url)
    else:
        described = files.build(document, key)
        sent = runner.run(
            described.experiment,
            name,
            described.key,
            described.max_elements_train,
            device=device,
            keep_best=described.keep_best,
            best=described.best,
        )
    if options.json:
        if wait:
            sent.wait(stdout=False)
        return _show(sent, options)
    print(sent.id)
    if wait:
        sent.wait()
        return _show_result(sent, options)
    print(f"submitted; next: aihwjax cloud wait {sent.id[:_SHORT]}", file=sys.stderr)
    return 0


@app.command
def status(id_: Annotated[str, Parameter(name="ID")], /, *, options: Options = Options()) -> int:
    """Tell how far an experiment is.

    Args:
        id_: Its id, or the start of it.
        options: Address and form of the output.
    """
    return _show(_found(id_, options), options)


@app.command
def wait(
    id_: Annotated[str, Parameter(name="ID")],
    /,
    *,
    timeout: PositiveFloat | None = None,
    options: Options = Options(),
) -> int:
    """Wait until an experiment has ended.

    Args:
        id_: Its id, or the start of it.
        timeout: Seconds after which it is given up.
        options: Address and form of the output.
    """
    experiment = _found(id_, options)
    experiment.wait(timeout, stdout=not options.json)
    return _show(experiment, options)


@app.command
def result(id_: Annotated[str, Parameter(name="ID")], /, *, options: Options = Options()) -> int:
    """Print the metrics of each epoch of a completed experiment, or its chips over time, or the table of a sweep.

    Args:
        id_: Its id, or the start of it.
        options: Address and form of the output.
    """
    return _show_result(_found(id_, options), options)


@app.command
def fetch(
    id_: Annotated[str, Parameter(name="ID")],
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    options: Options = Options(),
) -> int:
    """Save the trained model, that of the best epoch if it was kept, and the metrics of a completed experiment.

    Of a sweep it is the table.

    Args:
        id_: Its id, or the start of it.
        output: Folder for model, best and metrics.jsonl, of chips result.json, of a sweep table.csv alone; made if it
            does not exist.
        options: Address and form of the output.
    """
    found = _found(id_, options)
    if _ended_badly(found):
        return 1
    metrics = found.get_result()
    from aihwjax.experiments.storage import writable

    if found.kind == SWEEP:
        writable(output)
        found.download(output / "table.csv")
        paths = {"table": str(output / "table.csv")}
        print(json_module.dumps({"id": found.id, **paths}) if options.json else paths["table"])
        return 0
    from aihwjax.cloud import archive
    from aihwjax.experiments import save
    from aihwjax.experiments.metrics import write_text

    with tempfile.TemporaryDirectory(prefix="aihwjax-") as folder:
        result = Path(folder) / "result.tar"
        found.download(result)
        model, kept = archive.read(result).experiment.model, archive.read_best(result)
    writable(output)
    save(output / "model", model)
    if isinstance(metrics, dict):
        told = output / "result.json"
        write_text(told, json_module.dumps(finite(metrics), indent=2) + "\n")
    else:
        told = output / "metrics.jsonl"
        write_text(told, "".join(json_module.dumps(entry) + "\n" for entry in metrics))
    paths = {"model": str(output / "model"), "metrics": str(told)}
    if kept is not None:
        save(output / "best", kept[0])
        paths["best"] = str(output / "best")
    print(json_module.dumps({"id": found.id, **paths}) if options.json else "\n".join(paths.values()))
    return 0


@app.command
def cancel(id_: Annotated[str, Parameter(name="ID")], /, *, options: Options = Options()) -> int:
    """Cancel an experiment.

    Args:
        id_: Its id, or the start of it.
        options: Address and form of the output.
    """
    experiment = _found(id_, options)
    experiment.cancel()
    print(json_module.dumps(experiment.answer) if options.json else _line(experiment.answer))
    return 0


@app.command(name="list")
def list_(
    *,
    status: Literal["created", "waiting", "running", "completed", "failed", "cancelled"] | None = None,
    limit: PositiveInt = 50,
    options: Options = Options(),
) -> int:
    """List experiments, newest first.

    Args:
        status: Only with this status.
        limit: At most so many.
        options: Address and form of the output.
    """
    answers = [experiment.answer for experiment in _runner(options).list_experiments(status, limit)]
    if options.json:
        print(json_module.dumps(answers))
        return 0
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("id", "name", "status", "epochs", "accuracy", "created")
    for answer in answers:
        created = str(answer.get("created_at"))[:16].replace("T", " ")
        cells = (str(answer.get("name")), str(answer.get("status")), _epochs(answer), _accuracy(answer), created)
        table.add_row(str(answer["id"])[:_SHORT], *map(escape, cells))
    Console().print(table)
    return 0


@app.command
def logs(
    id_: Annotated[str, Parameter(name="ID")],
    /,
    *,
    follow: Annotated[bool, Parameter(alias="-f", negative=())] = False,
    options: Options = Options(),
) -> int:
    """Print the log of an experiment.

    Args:
        id_: Its id, or the start of it.
        follow: Go on until it has ended.
        options: Address and form of the output.
    """
    for line in _found(id_, options).logs(follow):
        print(json_module.dumps({"text": line}) if options.json else line, flush=True)
    return 0


def _submit_inference(
    runner: CloudRunner, config: Path, changes: list[str], name: str, key: int | None, device: str
) -> CloudExperiment:
    from aihwjax.experiments import files, inference_files
    from aihwjax.experiments.entries import INFERENCE_SETTINGS

    document = files.assign(inference_files.read(config), changes, INFERENCE_SETTINGS)
    described = inference_files.build(document, key)
    experiment = described.experiment.replace(times=described.experiment.time_grid(described.n_inference_times))
    return runner.run(experiment, name, described.key, described.max_elements, device=device)


def _runner(options: Options) -> CloudRunner:
    from aihwjax.cloud import CloudRunner

    return CloudRunner(api_url=options.url)


def _found(id_: str, options: Options) -> CloudExperiment:
    return _runner(options).get_cloud_experiment(id_)


def _show(experiment: CloudExperiment, options: Options) -> int:
    """Print one line, or JSON, and return the exit code."""
    answer = experiment.answer
    if options.json:
        print(json_module.dumps(answer))
        return int(answer.get("status") in ("failed", "cancelled"))
    print(_line(answer))
    return int(_ended_badly(experiment))


def _show_result(experiment: CloudExperiment, options: Options) -> int:
    """Print the metrics of a completed experiment, and return the exit code."""
    if _ended_badly(experiment):
        return 1
    metrics = experiment.get_result()
    if experiment.kind == SWEEP:
        from aihwjax.commands.cloud_sweeps import show_table

        show_table(experiment.id, metrics, options.json)
        return 0
    chips = isinstance(metrics, dict)
    if options.json:
        told = finite(metrics)
        print(json_module.dumps({"id": experiment.id, **(told if chips else {"metrics": told})}))
    elif chips:
        from aihwjax.commands.tables import print_inference

        print_inference(metrics)
    else:
        from aihwjax.commands.tables import print_metrics

        print_metrics(metrics)
    return 0


def _ended_badly(experiment: CloudExperiment) -> bool:
    """Whether it failed or was cancelled; then it says so on standard error."""
    answer = experiment.answer
    if answer.get("status") == "failed":
        print(f"aihwjax: experiment {experiment.id} failed: {answer.get('error')}", file=sys.stderr)
    elif answer.get("status") == "cancelled":
        print(f"aihwjax: experiment {experiment.id} was cancelled", file=sys.stderr)
    return answer.get("status") in ("failed", "cancelled")


def _line(answer: Mapping[str, Any]) -> str:
    unit = _UNITS.get(str((answer.get("summary") or {}).get("kind")), "epochs")
    words = [str(answer["id"])[:_SHORT], str(answer.get("status")), f"{_epochs(answer)} {unit}"]
    return "  ".join([*words, *scores(answer.get("metrics") or {}), str(answer.get("name"))])


def _epochs(answer: Mapping[str, Any]) -> str:
    return f"{answer.get('epochs_done', 0)}/{answer.get('epochs', 0)}"


def _accuracy(answer: Mapping[str, Any]) -> str:
    return accuracy_text(answer.get("metrics") or {})
