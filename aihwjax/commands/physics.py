"""``aihwjax physics``: whether devices do on this platform what they do in the sequential mode on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

_PLAIN = Parameter(negative=())


def physics(
    pattern: str = "*",
    /,
    *,
    batch: Annotated[tuple[int, ...], _PLAIN] = (),
    device: str | None = None,
    way: Literal["map", "vmap"] = "map",
    tiles: int = 2048,
    false_alarms: float = 1e-3,
    seed: int = 0,
    json: Path | None = None,
    quiet: Annotated[bool, _PLAIN] = False,
) -> int:
    """Compare the updates of every device on this platform with the sequential ones on a CPU, and print the matrix.

    Args:
        pattern: Only devices and compounds whose name matches, such as "*Step*".
        batch: Sizes of mini-batches, called in every order; may be repeated; by default 1, 8 and 128.
        device: The platform, such as cpu, gpu or gpu:1; by default the one that JAX takes.
        way: Tiles one after the other, as in training (map), or side by side, as in sweeps on an accelerator (vmap).
        tiles: Tiles on either side of a comparison.
        false_alarms: Probability that any cell differs by chance.
        seed: Of all random numbers.
        json: File for one record a cell.
        quiet: Print no line for each cell.
    """
    from rich.console import Console

    from aihwjax import physics as matrix
    from aihwjax.compiling import compile_cache

    compile_cache()
    console = Console()

    def show(cell: matrix.Cell) -> None:
        order = ", ".join(map(str, (*cell.before, cell.batch)))
        verdict = "agrees" if cell.passed else f"DIFFERS: {cell.message}"
        line = f"{cell.device}, batches {order}: {verdict} ({cell.seconds:.1f} s)"
        console.print(line, highlight=False, markup=False)

    cells = matrix.run(
        pattern,
        batch or matrix.BATCHES,
        device=device,
        way=way,
        tiles=tiles,
        false_alarms=false_alarms,
        seed=seed,
        on_cell=None if quiet else show,
    )
    if json is not None:
        matrix.write_json(cells, json)
    console.print(matrix.matrix_table(cells))
    return 0 if all(cell.passed for cell in cells) else 1
