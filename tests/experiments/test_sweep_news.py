"""What a sweep reports while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flax import nnx

import aihwjax as aj
from aihwjax.experiments import sweep
from aihwjax.experiments.sweeping.news import SweepNews
from tests.experiments import sweeping_small as small


def test_reports_are_told_of_epochs_and_calls_and_of_calls_that_were_done(tmp_path: Path) -> None:
    told: list[SweepNews] = []
    options: dict[str, Any] = {"key": small.KEY, "progress": False, "folder": tmp_path, "reports": [told.append]}
    table = sweep(small.experiment(), {"device.dw_min": [0.001, 0.002], "epochs": [1, 2]}, **options)
    assert [(news.call, news.calls, news.done, news.epochs, news.ended) for news in told] == [
        (0, 1, 1, 2, False),
        (0, 1, 2, 2, False),
        (0, 1, 2, 2, True),
    ]
    assert [len(news.rows) for news in told] == [4, 6, 6]
    assert sorted(told[-1].rows, key=lambda row: (row["index"], row["epoch"])) == table.rows
    before = told.pop()
    told.clear()
    sweep(small.experiment(), {"device.dw_min": [0.001, 0.002], "epochs": [1, 2]}, **options)
    assert told == [before]


def test_chips_have_none() -> None:
    model = aj.nn.AnalogSequential(aj.nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0)))
    chips: Any = aj.BasicInferencing(small.examples(), model, times=[1.0])
    with pytest.raises(aj.ConfigError, match="reports is not allowed with a BasicInferencing"):
        sweep(chips, {"inference_repeats": [1]}, reports=[print])
