"""The result of a summary, as rows and as a table."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aihwjax import arguments
from aihwjax.nn.summary.costs import Costs

if TYPE_CHECKING:
    from rich.table import Table

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))
_COLUMNS = ("layer", "class", "matrix", "tiles", "used", "products", "MACs", "weights", "digital", "energy", "time")


@arguments.answering
@dataclass(frozen=True)
class Summary:
    """What one call of a model does on tiles; ``print`` shows it as a table.

    Each row is a dictionary of plain values, ready for ``pandas.DataFrame(summary.rows)``:

    - ``path``, ``class``: the layer, and its class;
    - ``outputs``, ``inputs``: the matrix of one layer;
    - ``stack``: how many layers of their own lie under this path, 1 but for stacks such as ``nnx.vmap`` makes;
    - ``tiles``, ``tile_sizes``, ``array``: number of tiles, those of one layer by their size (with the column of an
      analog bias), and the size of the arrays of which they are parts (``mapping.max_output_size``,
      ``max_input_size``), outputs first;
    - ``utilisation``: crosspoints that hold weights over those of the arrays;
    - ``calls``, ``products``, ``reuse``: calls of the layer, vectors that they multiply, and those for each of its
      matrices;
    - ``macs``: products times the size of the matrix;
    - ``analog_parameters``, ``digital_parameters``: weights on tiles, and what an optimizer changes (bias, scales);
    - ``dac_conversions``, ``adc_conversions``, ``crosspoint_reads``, ``digital_operations``: of the whole call;
    - ``energy``, ``latency``: of the whole call, in joules and seconds; products one after the other;
    - ``pulses``: up and down pulses that its crosspoints got since they were drawn; ``None`` where no device counts
      them, or the model is one of shapes;
    - ``note``: what was assumed, or empty.
    """

    rows: list[dict[str, Any]]
    """One for each analog layer, in the order of the model; those that are never called have no products."""
    totals: dict[str, Any]
    """Sums over the layers; ``digital_parameters`` are those of the whole model, layers one after the other in time."""
    costs: Costs
    """What the operations were taken to cost."""

    def __rich__(self) -> Table:
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_footer=True)
        pulses = self.totals["pulses"] is not None
        last = ["total", "", "", *_words(self.totals, pulses)]
        names = (*_COLUMNS, "pulses") if pulses else _COLUMNS
        for number, (name, footer) in enumerate(zip(names, last, strict=True)):
            table.add_column(name, footer, justify="right" if number > 2 else "left", no_wrap=True)
        for row in self.rows:
            stack = f"{row['stack']} of " if row["stack"] > 1 else ""
            first = [row["path"], row["class"], f"{stack}{row['outputs']}x{row['inputs']}"]
            table.add_row(*map(escape, first), *_words(row, pulses))
        notes = [f"{row['path']}: {row['note']}" for row in self.rows if row["note"]]
        if notes:
            table.caption, table.caption_justify = escape("\n".join(notes)), "left"
        return table

    def __str__(self) -> str:
        from rich.console import Console

        table, text = self.__rich__(), io.StringIO()
        wide = Console(width=10_000).measure(table).maximum
        Console(file=text, width=max(wide, 40), color_system=None, legacy_windows=False).print(table)
        return textwrap.dedent("\n".join(map(str.rstrip, text.getvalue().splitlines()))).strip("\n")

    __repr__ = __str__


def _words(row: Mapping[str, Any], pulses: bool) -> list[str]:
    stack = f"{row['stack']} x " if row.get("stack", 1) > 1 else ""
    return [
        stack + row.get("tile_sizes", f"{row['tiles']:,}"),
        f"{row['utilisation']:.1%}",
        *(f"{row[name]:,}" for name in ("products", "macs", "analog_parameters", "digital_parameters")),
        scaled(row["energy"], "J"),
        scaled(row["latency"], "s"),
        *([""] if pulses and row["pulses"] is None else [f"{row['pulses']:,}"] if pulses else []),
    ]


def scaled(value: float, unit: str) -> str:
    """Return a small number with a unit, such as ``"3.2 µJ"``.

    Args:
        value: At least 0.
        unit: Its unit.
    """
    if value == 0:
        return f"0 {unit}"
    factor, prefix = next((pair for pair in _PREFIXES if value >= 0.9995 * pair[0]), _PREFIXES[-1])
    return f"{value / factor:.3g} {prefix}{unit}"
