"""What figures of sweeps show is what the tables have."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from aihwjax import plot
from aihwjax.errors import ConfigError
from tests.plot.sweep_tables import sweep_table


@pytest.fixture(autouse=True)
def _agg() -> None:
    mpl.use("agg")


def test_means_are_over_networks_and_a_diverged_one_counts() -> None:
    found = plot.compute_sweep_means(sweep_table(2))
    assert found.paths == ("device.dw_min", "device.up_down", "kind") and len(found.values) == 8
    assert found.values[3] == (0.001, 1, "NONE")
    np.testing.assert_allclose(found.means[1:], (np.arange(1, 8) + 0.05) / 8)
    np.testing.assert_allclose(found.curves[1:, 0], found.means[1:] / 2)
    assert np.isnan(found.means[0])


def test_a_map_has_a_cell_for_each_pair() -> None:
    figure = plot.plot_sweep_map(sweep_table(3), x="device.up_down")
    ax = figure.axes[0]
    cells = ax.collections[0].get_array().reshape(3, 3)
    means = plot.compute_sweep_means(sweep_table(3)).means.reshape(3, 3, 2)
    np.testing.assert_allclose(cells[1, 2], means[1, 2].mean())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("device.up_down", "device.dw_min")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0.001", "0.01", "0.1"]
    # the pair with the network that diverged has a cross and no colour
    assert np.ma.is_masked(cells[0, 0]) and ax.lines[0].get_xydata().tolist() == [[0.5, 0.5]]


def test_a_map_of_drawn_numbers_has_a_point_for_each() -> None:
    table = sweep_table(3, grid=False)
    ax = plot.plot_sweep_map(table).axes[0]
    assert len(ax.collections[0].get_offsets()) == 17 and ax.get_xscale() == "log" and ax.get_yscale() == "linear"


def test_parallel_lines_end_at_the_metric() -> None:
    ax = plot.plot_sweep_parallel(sweep_table(2)).axes[0]
    lines = [line for line in ax.lines if len(line.get_ydata()) == 4]
    assert len(lines) == 8 and sum(line.get_linestyle() == "--" for line in lines) == 1
    best = max(lines, key=lambda line: line.get_ydata()[-1] if line.get_linestyle() == "-" else -1)
    np.testing.assert_allclose(best.get_ydata(), 1)


def test_curves_go_over_epochs() -> None:
    lines = plot.plot_sweep_curves(sweep_table(2), "train_loss").axes[0].lines
    assert len(lines) == 8 and lines[5].get_label() == "dw_min 0.01, up_down 0, kind NONE"
    np.testing.assert_allclose(lines[5].get_ydata(), 1 - np.array([0.5, 1]) * 5.05 / 8)


def test_what_is_not_there_is_named() -> None:
    table = sweep_table(2)
    with pytest.raises(ConfigError, match="metric='acuracy' is not allowed; did you mean 'accuracy'"):
        plot.plot_sweep_curves(table, "acuracy")
    with pytest.raises(ConfigError, match="x='kind' is not allowed"):
        plot.plot_sweep_map(table, x="kind")
    alone = type(table)(table.rows, ("device.dw_min",))
    with pytest.raises(ConfigError, match=r"a map needs two numbers .* has device\.dw_min"):
        plot.plot_sweep_map(alone)


def test_rankings_have_the_best_first_and_the_diverged_last() -> None:
    table = sweep_table(2)
    ranked = table.ranked()
    assert [row["index"] for row in ranked] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert ranked[-1]["diverged"] == 1 and ranked[0]["networks"] == 2
    assert ranked[0]["accuracy"] == pytest.approx(7.05 / 8) and table.best()["index"] == 7
    assert table.ranked("train_loss")[0]["index"] == 7
    assert table.ranking(count=3).splitlines()[-1] == "... and 5 more"
    assert table.metric == "accuracy" and table.numbers == ("device.dw_min", "device.up_down")
