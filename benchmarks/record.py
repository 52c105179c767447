"""Records: what a measurement leaves behind, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table


@dataclasses.dataclass(frozen=True)
class Record:
    """One measurement: our figure beside the reference's and that of digital training."""

    name: str
    """``"train/ConstantStep/batch64"``: benchmark, device, setting."""
    unit: str
    """Unit of the three figures."""
    higher_is_better: bool
    """Whether a larger figure is the better one."""
    ours: float
    """Figure of this library."""
    peer: float | None = None
    """Figure of the reference at its best setting; ``None`` if it was not measured."""
    digital: float | None = None
    """Figure of plain digital training in JAX at its best setting; ``None`` if it was not measured."""
    rounds: int = 1
    """Interleaved rounds of which the figures are medians."""
    our_setting: str = ""
    """Our best setting."""
    peer_setting: str = ""
    """The reference's best setting, with its number of threads."""
    digital_setting: str = ""
    """The digital program's best setting."""
    details: dict[str, object] = dataclasses.field(default_factory=dict)
    """What else was seen: all settings, spreads, compile times."""

    @property
    def ours_over_peer(self) -> float | None:
        """Our figure over the reference's."""
        return self.ours / self.peer if self.peer else None

    @property
    def ours_over_digital(self) -> float | None:
        """Our figure over the digital one."""
        return self.ours / self.digital if self.digital else None

    def plain(self) -> dict[str, object]:
        """Return the record as JSON values, with the ratios and the machine."""
        fields = dataclasses.asdict(self)
        details = fields.pop("details")
        ratios = {"ours_over_peer": self.ours_over_peer, "ours_over_digital": self.ours_over_digital}
        return {**fields, **ratios, "machine": machine(), "details": details}


def machine() -> dict[str, object]:
    """Return what the figures depend on: processor, cores, versions, load."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_json(records: Sequence[Record], path: Path) -> None:
    """Write records as a JSON list, one object a record.

    Args:
        records: What was measured.
        path: The file; it is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([record.plain() for record in records], indent=1) + "\n")


def show(title: str, records: Sequence[Record]) -> None:
    """Print records as a table."""
    table = Table(title=title, title_justify="left")
    table.add_column("measurement", overflow="fold")
    for heading in ("ours", "reference", "digital", "unit", "/ reference", "/ digital"):
        table.add_column(heading, justify="right")
    table.add_column("best setting of the reference", overflow="fold")
    for record in records:
        table.add_row(
            record.name,
            *(_number(value) for value in (record.ours, record.peer, record.digital)),
            record.unit,
            *(_ratio(value) for value in (record.ours_over_peer, record.ours_over_digital)),
            record.peer_setting,
        )
    Console().print(table)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
