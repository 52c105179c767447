"""The matrix: each device, batch size and order of first calls on a platform against the sequential mode on a CPU."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from aihwjax import arguments
from aihwjax.devices.device import Device
from aihwjax.errors import AihwjaxError, ConfigError, nearest
from aihwjax.experiments.devices import DeviceChoice, find_device
from aihwjax.physics.comparing import Comparison, Values, compare, differs
from aihwjax.physics.kinds import all_kinds
from aihwjax.physics.sampling import Sampler, start_weights
from aihwjax.pulses import UpdateMode
from aihwjax.random import fold
from aihwjax.replacing import write_bytes

if TYPE_CHECKING:
    from rich.table import Table

BATCHES = (1, 8, 128)
"""Batch sizes of the matrix."""
FALSE_ALARMS = 1e-3
"""Probability that a whole matrix has a cell that differs though nothing does."""
TILES = 2048
"""Tiles on either side of a comparison."""
_WAYS = ("map", "vmap")


@arguments.answering
@dataclass(frozen=True)
class Cell:
    """Outcome of one device, batch size and order of first calls."""

    device: str
    """Name of the device or compound."""
    batch: int
    """Vectors of the mini-batch."""
    before: tuple[int, ...]
    """Sizes of the mini-batches that the same tiles, and programs, had before; empty: it was the first."""
    passed: bool
    """Whether chance explains what differs."""
    p_value: float
    """How probable a deviation as large is if nothing differs, for the cell."""
    tests: int
    """Numbers that were compared."""
    resolution: float
    """Relative error of the steps that would be found; infinite if the weights of such a device don't change there."""
    seconds: float
    """Time for both sides of the order, with compilation, divided by its mini-batches."""
    message: str = ""
    """What differs, or why the cell did not run; empty if it passed."""


@arguments.answered
def run(
    pattern: str = "*",
    batches: Sequence[int] = BATCHES,
    *,
    device: DeviceChoice = None,
    way: str = "map",
    tiles: int = TILES,
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
    kinds: Mapping[str, Device] | None = None,
    on_cell: Callable[[Cell], None] | None = None,
) -> list[Cell]:
    """Compare the physics of a platform with the sequential update on a CPU.

    For every order of the batch sizes fresh tiles are updated with one mini-batch of each, by programs that are
    compiled in that order, in the aggregated mode; after each the weights and everything else that a device remembers
    are compared with those of as many other tiles in the sequential mode (:mod:`aihwjax.physics.comparing`).

    Args:
        pattern: Only devices whose name matches this shell pattern.
        batches: Batch sizes, each once.
        device: The platform: a device of JAX or its name; ``None``: JAX's default.
        way: ``"map"``: the program of a single tile, as training runs it; ``"vmap"``: tiles side by side, as sweeps on
            an accelerator.
        tiles: Tiles on either side; more find smaller errors.
        false_alarms: Probability, over all cells together, that one differs though nothing does.
        seed: Of all random numbers; the same one gives the same matrix on the same platform.
        kinds: Devices by name; ``None``: those of :func:`~aihwjax.physics.kinds.all_kinds`.
        on_cell: Called with each cell when it is done.

    Returns:
        A cell for each device, order and mini-batch. A device that does not run is a cell that has not passed.

    Raises:
        ConfigError: If no device matches, an argument is not allowed, or JAX has no CPU here to compare with.
    """
    kinds = all_kinds() if kinds is None else kinds
    names = [name for name in kinds if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        raise ConfigError(f"pattern={pattern!r} matches no device{nearest(pattern, kinds)}")
    sizes = _checked(batches, way, tiles, false_alarms, seed)
    where = find_device(device) or jax.devices()[0]
    try:
        cpu = jax.devices("cpu")[0]
    except RuntimeError:
        raise ConfigError("JAX has no CPU here to compare with: let JAX_PLATFORMS end with ',cpu'") from None
    orders = list(itertools.permutations(sizes))
    count = len(names) * len(orders) * len(sizes)
    cells = []
    for name in names:
        sides: tuple[Sampler, Sampler] | str
        try:
            ours = Sampler(kinds[name], UpdateMode.AGGREGATED, way, where, anew=True)
            sides = ours, Sampler(kinds[name], UpdateMode.SEQUENTIAL, "vmap", cpu, anew=False)
        except AihwjaxError as error:
            sides = str(error)
        for order in orders:
            for cell in _order(name, order, sides, tiles, false_alarms / count, seed):
                cells.append(cell)
                if on_cell is not None:
                    on_cell(cell)
    return cells


def _checked(batches: Sequence[int], way: str, tiles: int, false_alarms: float, seed: int) -> list[int]:
    sizes = list(batches)
    whole = [isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 1 for size in sizes]
    if not sizes or not all(whole) or len(set(sizes)) < len(sizes):
        raise ConfigError(f"batches={batches!r} is not allowed: give whole numbers of at least 1, each once")
    if way not in _WAYS:
        raise ConfigError(f"way={way!r} is not allowed: give 'map' or 'vmap'{nearest(str(way), _WAYS)}")
    if isinstance(tiles, bool) or not isinstance(tiles, int | np.integer) or tiles < 32:
        raise ConfigError(f"tiles={tiles!r} is not allowed: give a whole number of at least 32")
    if not isinstance(false_alarms, int | float) or not 0 < false_alarms < 1:
        raise ConfigError(f"false_alarms={false_alarms!r} is not allowed: give a number between 0 and 1")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ConfigError(f"seed={seed!r} is not allowed: give a whole number")
    return [int(size) for size in sizes]


def _order(
    name: str, order: tuple[int, ...], sides: tuple[Sampler, Sampler] | str, tiles: int, false_alarms: float, seed: int
) -> list[Cell]:
    """Return the cells of one order of batch sizes; of a device that cannot be, the reason is in place of its sides."""
    begin = time.perf_counter()
    key = fold(fold(jax.random.key(seed), name), ",".join(map(str, order)))
    samples: list[list[dict[str, Values]]] = []
    problem = sides if isinstance(sides, str) else ""
    if not isinstance(sides, str):
        try:
            for side, sampler in zip(("platform", "reference"), sides, strict=True):
                samples.append(sampler.sample(order, tiles, fold(key, side)))
        except AihwjaxError as error:
            problem = str(error)
        except Exception as error:  # a device must not end the matrix
            problem = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    start = {"weights": start_weights()}
    if problem:
        results = [Comparison(0.0, 0, problem, np.inf)] * len(order)
    else:
        pairs = zip(samples[0], samples[1], strict=True)
        results = [compare(mine, theirs, start, seed) for mine, theirs in pairs]
    seconds = (time.perf_counter() - begin) / len(order)
    cells = []
    for place, (size, result) in enumerate(zip(order, results, strict=True)):
        wrong = differs(result, false_alarms)
        numbers = (result.p_value, result.tests, result.resolution)
        cells.append(Cell(name, size, order[:place], not wrong, *numbers, seconds, result.worst if wrong else ""))
    return cells


@arguments.answered
def summary(cells: Sequence[Cell]) -> str:
    """Return one line such as ``"378 of 378 cells agree"``."""
    return f"{sum(cell.passed for cell in cells)} of {len(cells)} cells agree"


@arguments.answered
def write_json(cells: Sequence[Cell], path: str | Path) -> None:
    """Write cells as a JSON list, one object a cell; an infinite ``resolution`` becomes ``null``.

    Args:
        cells: From :func:`run`.
        path: The file; it appears complete or not at all, in a folder that is made if needed.

    Raises:
        CheckpointError: If it cannot be written.
    """
    entries = []
    for cell in cells:
        entry = dataclasses.asdict(cell)
        entry["resolution"] = cell.resolution if math.isfinite(cell.resolution) else None
        entries.append(entry)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_bytes(Path(path), (json.dumps(entries, indent=1) + "\n").encode())


@arguments.answered
def matrix_table(cells: Sequence[Cell], title: str = "Physics") -> Table:
    """Return the matrix as a table for the terminal (print it with ``rich.print``): a row a device, a column a batch.

    An entry has the smallest p-value over the orders, and the relative error of a step that would be found.

    Args:
        cells: From :func:`run`.
        title: Headline.
    """
    from rich.table import Table
    from rich.text import Text

    sizes = sorted({cell.batch for cell in cells})
    result = Table("device", *(f"batch {size}" for size in sizes), title=title, caption=summary(cells))
    for name in dict.fromkeys(cell.device for cell in cells):
        row = [Text(name)]
        for size in sizes:
            own = [cell for cell in cells if (cell.device, cell.batch) == (name, size)]
            wrong = [cell for cell in own if not cell.passed]
            finest = min((cell.resolution for cell in own), default=math.inf)
            found = f", finds {finest:.1%}" if math.isfinite(finest) else ""
            least = min((cell.p_value for cell in own), default=1.0)
            if wrong:
                after = " / ".join("first" if not c.before else "after " + ", ".join(map(str, c.before)) for c in wrong)
                row.append(Text(f"DIFFERS ({after})", "bold red"))
            else:
                row.append(Text(f"p {least:.2g}{found}", "green"))
        result.add_row(*row)
    return result
