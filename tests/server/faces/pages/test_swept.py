"""Sweeps on the page: configurations, the best first, and the file of the table."""

from __future__ import annotations

import math
from typing import Any

import pytest
import requests

pytest.importorskip("jinja2", reason="needs the extra composer")

from aihwjax.chip_results import finite
from aihwjax.server.core.validation import Checker
from aihwjax.server.faces.pages import swept
from aihwjax.server.faces.pages.configuration import configuration
from aihwjax.server.faces.pages.histories import Epoch, _epoch
from aihwjax.sweep_results import network_entry
from tests.server.faces.pages.site import LAYERS, Site, csrf_of


def entry(number: int, index: int, seed: int, accuracy: float | None, loss: float = 0.5) -> dict[str, Any]:
    """Return what a job tells of a network; a loss of NaN has diverged."""
    own = {} if accuracy is None else {"accuracy": accuracy}
    row = {"index": index, "seed": seed, "device.dw_min": 0.001 * 2**index, "epoch": 0, **own, "train_loss": loss}
    row |= {"valid_loss": loss, "diverged": math.isnan(loss)}
    return finite(network_entry(number, [row], ["device.dw_min"], 1.0))


ENTRIES = [
    entry(0, 0, 0, 0.5),
    entry(1, 0, 1, 0.7),
    entry(2, 1, 0, 0.8),
    entry(3, 1, 1, 0.9),
    entry(4, 2, 0, 0.95),
    entry(5, 2, 1, 0.1, math.nan),
]


def epochs(entries: list[dict[str, Any]]) -> list[Epoch]:
    return [_epoch(each, number) for number, each in enumerate(entries)]


def test_configurations_are_means_over_networks_and_the_best_is_the_first() -> None:
    found = swept.configurations(epochs(ENTRIES))
    assert [(row.number, row.networks, row.diverged) for row in found] == [(1, 2, 0), (0, 2, 0), (2, 2, 1)]
    assert [row.accuracy for row in found] == [pytest.approx(0.85), pytest.approx(0.6), None]
    assert swept.paths(found) == ["device.dw_min"]
    assert swept.configurations(epochs([{"epoch": 0, "accuracy": 0.5}])) == []


def test_without_classes_the_smallest_loss_is_the_best() -> None:
    entries = [entry(number, number, 0, None, loss) for number, loss in enumerate((0.5, 0.1, math.nan))]
    assert [row.number for row in swept.configurations(epochs(entries))] == [1, 0, 2]


def test_values_are_short() -> None:
    texts = [swept.value_text(value) for value in (None, True, 0.1 + 0.2, 3, "y" * 80)]
    assert texts == ["", "yes", "0.3", "3", "y" * 39 + "…"]
    told = configuration(None, {"experiment": {}, "sweep": {"points": [{"a": 1}, {"b": 2}], "seeds": [0, 1]}})
    assert told.settings == [("Configurations", "2"), ("Varied", "a, b"), ("Seeds", "0, 1")]


def summary(self: Checker, path: Any) -> dict[str, Any]:
    """Stand in for the check of a sweep's archive."""
    return {"epochs": 6, "longest": 1, "parameters": 100, "dataset": "mnist10k", "kind": "Sweep", "layers": LAYERS}


def test_the_page_shows_a_sweep(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checker, "check", summary)
    visit = requests.Session()
    experiment_id = site.running("a sweep")
    form = visit.get(f"{site.url}/ui/sign-in", timeout=60)
    fields = {"token": site.token(), "next": "/ui", "csrf": csrf_of(form.text)}
    assert visit.post(f"{site.url}/ui/sign-in", data=fields, timeout=60).ok
    address = f"{site.url}/ui/experiments/{experiment_id}"
    assert "No network is finished yet." in visit.get(address, timeout=60).text
    site.report(experiment_id, ENTRIES[:4])
    text = visit.get(address, timeout=60).text
    assert "0 of 4 networks diverged so far." in text and "4 of 6" in text
    site.report(experiment_id, ENTRIES[4:])
    site.complete(experiment_id)
    text = visit.get(address, timeout=60).text
    assert "1 of 6 networks diverged." in text
    rows = text[text.index('id="swept-table"') :]
    places = [rows.index(f'<th scope="row">{number}</th>') for number in (1, 0, 2)]
    assert places == sorted(places)
    assert "85.00\N{NO-BREAK SPACE}%" in rows and "device.dw_min" in rows
    assert "Table of all networks and epochs" in text
    file = visit.get(f"{address}/files/output", timeout=60)
    assert file.headers["Content-Type"].startswith("text/csv")
    assert "-table.csv" in file.headers["Content-Disposition"]
    told = visit.get(f"{address}/metrics.json", timeout=60).json()["metrics"]
    assert told[5]["network"] == {"index": 2, "seed": 1, "values": {"device.dw_min": 0.004}, "diverged": True}
