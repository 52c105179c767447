"""How figures look: sizes of a paper's column, colours that all eyes tell apart, and where axes come from.

Matplotlib is imported here and only when a figure is drawn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from aihwjax import arguments
from aihwjax.errors import ConfigError, MissingExtraError, nearest

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_P = ParamSpec("_P")
_T = TypeVar("_T")

COLUMN = 3.4
"""Width of one column of a paper, in inches."""
PAGE = 7.0
"""Width of two columns, in inches."""
PANEL_HEIGHT = 2.6
"""Height of one row of axes, in inches."""

BLUE, ORANGE, GREEN, RED, SKY, PURPLE, YELLOW = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#56b4e9",
    "#cc79a7",
    "#f0e442",
)
"""The palette of Okabe and Ito, which the colour-blind tell apart."""
GREY = "#6b6b6b"
"""Reference lines and single traces."""

_LABEL_WIDTH = 40  # characters of a line in a legend: what a column of a paper holds
_OVERHANG = 1.1  # of the width of axes: a little more than them, since there are tick labels beside them
_ABOVE_LEGEND = 4  # points between a legend and the title above it

FORMATS = ("png", "svg", "pdf")
"""Kinds of files that :func:`save` writes, by suffix."""

_SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "legend.handlelength": 1.5,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "svg.fonttype": "none",
    "svg.hashsalt": "aihwjax",
    "pdf.fonttype": 42,
}


def pyplot() -> ModuleType:
    """Return ``matplotlib.pyplot``.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise MissingExtraError('plots need matplotlib: pip install "aihwjax[plot]"') from None
    return plt


@contextmanager
def styled() -> Iterator[None]:
    """Use the settings of this module inside a block."""
    plt = pyplot()
    colours = [BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY]
    with plt.rc_context({**_SETTINGS, "axes.prop_cycle": plt.cycler(color=colours)}):
        yield


def drawn(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let a drawing function run with the settings of this module."""

    @wraps(function)
    def draw(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with styled():
            return function(*args, **kwargs)

    return draw


def panels(columns: int = 1, rows: int = 1, width: float | None = None) -> tuple[Figure, list[Axes]]:
    """Return a new figure and its axes, row by row.

    A window is opened for it only by an interactive backend; elsewhere nothing outside holds the
    figure, so that any number of them can be drawn. A notebook shows it as the result of a cell.

    Args:
        columns: Axes side by side.
        rows: Rows of axes.
        width: Inches; by default one column of a paper for one axes, else two.
    """
    plt = pyplot()
    from matplotlib.backends import BackendFilter, backend_registry
    from matplotlib.figure import Figure

    interactive = {name.lower() for name in backend_registry.list_builtin(BackendFilter.INTERACTIVE)}
    size = (width or (COLUMN if columns == 1 else PAGE), PANEL_HEIGHT * rows)
    backend = plt.get_backend().lower()
    if "inline" in backend:  # loading it tells the notebook how to show figures
        plt.switch_backend(plt.get_backend())
    make = plt.figure if backend in interactive else Figure
    figure = make(figsize=size, layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).ravel())


def axes(ax: Axes | None) -> tuple[Figure, Axes]:
    """Return the given axes and their figure, or those of a new figure."""
    if ax is None:
        figure, (ax,) = panels()
        return figure, ax
    own = ax.get_figure(root=True)
    assert own is not None, "axes that were removed from their figure"
    return own, ax


def number_ticks(ax: Axes, integer: bool = False) -> None:
    """Let the x axis have few enough ticks that labels like -0.75 stay apart in a column of a paper.

    Args:
        ax: Axes with a linear x axis.
        integer: Whether only whole numbers have ticks.
    """
    ax.locator_params(axis="x", nbins=8 if integer else 5, integer=integer)


def legend_above(ax: Axes, handles: Sequence[Artist] | None = None, title: str | None = None) -> None:
    """Put the legend between the axes and their title, where no curve is, in as few rows as fit above the axes.

    Args:
        ax: Axes with everything drawn and with their title.
        handles: What the legend lists; by default all that has a label.
        title: Title of the legend.
    """
    handles = ax.get_legend_handles_labels()[0] if handles is None else handles
    # a dollar in the name of a run begins no formula
    labels = [textwrap.fill(str(handle.get_label()), _LABEL_WIDTH).replace("$", r"\$") for handle in handles]
    count, room = len(handles), ax.get_window_extent().width
    if count == 0:
        return
    for columns in dict.fromkeys(-(-count // rows) for rows in range(1, count + 1)):
        legend = ax.legend(
            handles, labels, title=title, ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1), borderaxespad=0.3
        )
        size = legend.get_window_extent()
        if size.width <= _OVERHANG * room:
            break
    root = ax.get_figure(root=True)
    assert root is not None, "axes that were removed from their figure"
    ax.set_title(ax.get_title(), pad=72 * size.height / root.dpi + _ABOVE_LEGEND)


def check_suffix(path: str | Path) -> None:
    """Refuse a file name whose suffix is none of ``FORMATS``.

    Raises:
        ConfigError: If it is not.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise ConfigError(f"output={str(path)!r} is not allowed: give a file name that ends in {known}"
                          f"{nearest(suffix, FORMATS)}")  # fmt: skip


@arguments.answered
def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix; the same figure gives the same file.

    Args:
        figure: The figure.
        path: The file; its folder is made if needed.

    Raises:
        ConfigError: If the suffix is another one.
    """
    check_suffix(path)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with styled():
        figure.savefig(path, metadata=dates.get(path.suffix.lower().removeprefix(".")))
