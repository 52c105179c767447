"""Inference experiments as TOML files: the sections ``model`` and ``tile`` are those of a training.

.. code-block:: toml

    [experiment]
    dataset = "mnist10k"
    weight_template_id = "trained.npz"
    inference_repeats = 5
    inference_time = 86400

    [[model.layers]]
    class = "Flatten"

    [[model.layers]]
    class = "AnalogLinear"
    in_features = 784
    out_features = 10

    [tile]
    class = "InferenceRPUConfig"

Entries of ``experiment`` are the fields of :class:`~aihwjax.experiments.BasicInferencing`, and ``key``,
``max_elements`` and ``n_inference_times`` of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aihwjax.errors import ConfigError
from aihwjax.experiments import files
from aihwjax.experiments.data.single_file import is_address
from aihwjax.experiments.entries import INFERENCE_SETTINGS, check_names, check_settings, table
from aihwjax.experiments.inferencing import BasicInferencing

_OF_THE_RUN = {"max_elements": 0, "n_inference_times": 10}


class InferenceFile(NamedTuple):
    """What a file describes."""

    experiment: BasicInferencing
    """The experiment."""
    key: int
    """Seed of the run and of the initial weights."""
    max_elements: int
    """If above 0, only so many examples."""
    n_inference_times: int
    """How many times there are."""
    resolved: dict[str, Any]
    """The document with every field of the tile filled in; reading it gives the same experiment."""


def read(path: str | Path) -> dict[str, Any]:
    """Read a TOML file into a dictionary; where its template is, as seen from the folder of the file.

    Args:
        path: The file.

    Raises:
        ConfigError: If it cannot be read or is not valid TOML.
    """
    document = files.read(path)
    settings = document.get("experiment")
    template = settings.get("weight_template_id") if isinstance(settings, dict) else None
    if isinstance(settings, dict) and isinstance(template, str) and template and not is_address(template):
        settings["weight_template_id"] = str(Path(path).parent / Path(template).expanduser())
    return document


def build(document: Mapping[str, Any], key: int | None = None) -> InferenceFile:
    """Build the inference experiment that a document describes.

    Args:
        document: From :func:`read`.
        key: Replaces the document's key.

    Raises:
        ConfigError: If a section, field, layer or class is unknown (with the nearest name), or a value is not allowed.
        DataError: If there is no such data set.
    """
    check_names(document, files.SECTIONS, "the experiment")
    settings = check_settings(table(document, "experiment"), INFERENCE_SETTINGS)
    seed = files.take_key(settings, key)
    run = {name: settings.pop(name, default) for name, default in _OF_THE_RUN.items()}
    if "dataset" not in settings:
        raise ConfigError("experiment.dataset is missing: give the name of a data set, such as 'mnist10k'")
    model, sections = files.build_network(document, seed)
    experiment = BasicInferencing(model=model, **settings)
    chosen = {"key": seed, **run, **settings}
    described = {name: chosen.get(name, getattr(experiment, name, None)) for name in INFERENCE_SETTINGS}
    resolved = files.without_none({"experiment": described, **sections})
    return InferenceFile(experiment, seed, run["max_elements"], run["n_inference_times"], resolved)
