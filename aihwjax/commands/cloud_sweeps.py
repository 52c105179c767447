"""Sweeps of ``aihwjax cloud``: the file that is submitted, and the table that comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aihwjax.chip_results import finite

if TYPE_CHECKING:
    from aihwjax.cloud import CloudExperiment
    from aihwjax.experiments import SweepTable


def submit_sweep(
    document: Mapping[str, Any], name: str, key: int | None, device: str, url: str | None
) -> CloudExperiment:
    """Submit the sweep of a document.

    Args:
        document: Of a file with a section ``sweep``.
        name: For people.
        key: Replaces the document's key.
        device: Kind of device to ask for.
        url: Address of the composer.

    Raises:
        AihwjaxError: If the document describes none, or one that cannot travel, or the composer refuses it.
    """
    from aihwjax.cloud import run_sweep
    from aihwjax.experiments import sweep_files
    from aihwjax.experiments.inferencing import BasicInferencing

    described = sweep_files.build(document, key)
    halving: dict[str, Any] = {}
    if described.halving is not None:
        assert described.metric is not None
        halving = {"halving": described.halving, "first": described.first, "metric": described.metric}
        halving["extreme"] = described.extreme
    assert not isinstance(described.experiment, BasicInferencing)  # the file was read as one of a training
    return run_sweep(
        described.experiment,
        described.space,
        described.seeds,
        described.key,
        name=name,
        max_elements_train=described.limit,
        memory=described.memory,
        **halving,
        device=device,
        api_url=url,
    )


def show_table(id_: str, table: SweepTable, as_json: bool) -> None:
    """Print the table of a sweep, or JSON with all of its rows.

    Args:
        id_: Of the experiment.
        table: The table.
        as_json: Whether to print JSON.
    """
    print(json.dumps({"id": id_, "rows": finite(table.rows)}) if as_json else table)
