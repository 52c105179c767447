"""How pages say numbers and times."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs the extra composer")

from aihwjax.server.faces.pages import words
from aihwjax.server.faces.pages.configuration import configuration
from aihwjax.server.views import Status
from tests.server.faces.pages.site import DOCUMENT, LAYERS


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.41236, "0.4124"), (0, "0.000"), (12345.6, "1.235e+04"), (1e-7, "1.000e-07"), (-2.5, "-2.500")],
)
def test_numbers(value: float, wanted: str) -> None:
    assert words.number(value) == wanted


@pytest.mark.parametrize("value", [None, math.nan, math.inf, True, "7"])
def test_what_is_no_number_is_told(value: Any) -> None:
    assert words.number(value) == words.percent(value) == "not finite"
    assert words.seconds(value) == "unknown"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0.01234, "0.012 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (95, "1 min 35 s"),
        (7_260, "2 h 1 min"),
        (90_000, "1 d 1 h"),
        (-3, "0 s"),
    ],
)
def test_durations(value: float, wanted: str) -> None:
    assert words.seconds(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(1, "1 byte"), (999, "999 bytes"), (20_480, "20.5 kB"), (2 * 10**8, "200 MB"), (3 * 10**12, "3.0 TB")],
)
def test_sizes(value: int, wanted: str) -> None:
    assert words.size(value) == wanted


def test_times() -> None:
    assert words.moment(1_800_000_000.5) == "15 Jan 2027, 08:00 UTC"
    assert words.iso(1_800_000_000.5) == "2027-01-15T08:00:00Z"


def test_every_state_has_a_word() -> None:
    assert set(words.STATUS) == set(Status)


def test_layers_with_the_same_tiles_share_their_configuration() -> None:
    found = configuration({"layers": LAYERS, "parameters": 8}, DOCUMENT)
    assert found.layers == LAYERS
    assert [(tiles.layers, tiles.device) for tiles in found.tiles] == [([2, 4], "ConstantStepDevice")]
    parts = {part.name: part for part in found.tiles[0].parts}
    assert list(parts) == ["device", "device.drift", "forward"]
    assert ("dw_min", "0.001") in parts["device"].rows and parts["device.drift"].kind == "Drift"
    assert ("Learning rate", "0.2") in found.settings and ("Size of the model", "8 bytes") in found.settings


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"model": 3, "experiment": []},
        {"model": {"layers": [1, None, {"config": 5}, {"config": {"device": [{"a": [[{}]]}, 2]}}]}},
        {"experiment": {"key": {"impl": "threefry2x32", "data": [1, 2]}, "dataset": "x" * 10_000}},
    ],
)
def test_documents_of_any_shape_can_be_shown(document: Any) -> None:
    found = configuration({"layers": ["Flatten()"]}, document)
    assert found.layers == ["Flatten()"]
    assert all(len(value) <= 200 for _, value in found.settings)
