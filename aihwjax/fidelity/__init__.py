"""Fidelity: whether the library's statistics are those recorded from the reference.

Golden files hold, for many configurations, the moments of what the reference's tiles do. Here
the same steps are taken with many fresh tiles of ours and compared by a fixed rule
(:mod:`aihwjax.fidelity.agreement`); configurations are built with ``reference_quirks=True``.
"""

from aihwjax.fidelity.agreement import Statistics, Verdict, compare, statistics
from aihwjax.fidelity.cases import Case, TileCase, TrainingCase, families_in, load
from aihwjax.fidelity.evidence import Evidence, RecordEvidence
from aihwjax.fidelity.records import Family, Record, families, family_table, summary, table, write_json
from aihwjax.fidelity.report import check_installed, html, write_html
from aihwjax.fidelity.running import MODES, evaluate, has_update, judge, run
from aihwjax.fidelity.sampling import POOLED_TILES, REPEATS, sample, tiles_of

__all__ = [
    "MODES",
    "POOLED_TILES",
    "REPEATS",
    "Case",
    "Evidence",
    "Family",
    "Record",
    "RecordEvidence",
    "Statistics",
    "TileCase",
    "TrainingCase",
    "Verdict",
    "check_installed",
    "compare",
    "evaluate",
    "families",
    "families_in",
    "family_table",
    "has_update",
    "html",
    "judge",
    "load",
    "run",
    "sample",
    "statistics",
    "summary",
    "table",
    "tiles_of",
    "write_html",
    "write_json",
]
