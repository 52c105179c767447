"""Reading how far a job's process has come, from the files that it writes."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from aihwjax.chip_results import finite
from aihwjax.server.core.leases import Cursor
from aihwjax.server.workers.job import METRICS

_MOST_LINES = 10_000  # of a job
_MOST_AT_ONCE = 500
_MOST_LETTERS = 2_000
_BLOCK = 1 << 18


def log_name(lease: int) -> str:
    """Return the name of the log that is written under a lease.

    Args:
        lease: Its number.
    """
    return f"log-{lease:06d}.txt"


def further_epochs(folder: Path, cursor: Cursor) -> list[dict[str, Any]]:
    """Return the metrics of epochs that are complete and not among the events.

    Args:
        folder: Folder of the job.
        cursor: What is among the events.
    """
    try:
        text = (folder / METRICS).read_bytes()
    except FileNotFoundError:
        return []
    lines = text[: text.rfind(b"\n") + 1].splitlines()  # the last one may be torn
    entries = []
    with contextlib.suppress(ValueError):  # after a loss of power, until the job has written it anew
        entries += [finite(json.loads(line)) for line in lines[cursor.epochs :]]
    return entries


def further_lines(folder: Path, lease: int, cursor: Cursor) -> tuple[list[str], Cursor]:
    """Return lines of the logs that are not among the events, and the cursor after them.

    The logs of earlier leases are read to their ends first, if they are on this machine.

    Args:
        folder: Folder of the job.
        lease: Number of the present lease.
        cursor: What is among the events.
    """
    lines: list[str] = []
    at, offset = cursor.log_lease, cursor.log_offset
    for number in _leases(folder, at, lease):
        if number != at:
            at, offset = number, 0
        found, offset = _read(folder / log_name(number), offset, ended=number < lease)
        lines += found
        if len(lines) >= _MOST_AT_ONCE:
            break
    kept = lines[: max(0, _MOST_LINES - cursor.log_lines)]
    if kept and cursor.log_lines + len(kept) == _MOST_LINES:
        kept[-1] = f"further lines of the log are not kept: it has {_MOST_LINES}"
    return kept, Cursor(cursor.epochs, at, offset, cursor.log_lines + len(kept))


def _leases(folder: Path, first: int, last: int) -> list[int]:
    numbers = (re.fullmatch(r"log-(\d+)\.txt", path.name) for path in folder.glob("log-*.txt"))
    return sorted(number for match in numbers if match and first <= (number := int(match[1])) <= last)


def _read(path: Path, offset: int, ended: bool) -> tuple[list[str], int]:
    """Return the complete lines after an offset, and the offset after them."""
    with path.open("rb") as file:
        file.seek(offset)
        block = file.read(_BLOCK)
    end, whole = block.rfind(b"\n") + 1, len(block) == _BLOCK
    if (ended and not whole) or (whole and not end):
        end = len(block)
    lines = block[:end].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}").splitlines()
    return [line[:_MOST_LETTERS] for line in lines], offset + end
