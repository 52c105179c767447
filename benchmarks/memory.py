"""How much memory does training a 2048 x 2048 layer at batch 64 take, in a fresh process?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peer import PeerWorker
from benchmarks.problem import DEVICES, Problem, random_digits
from benchmarks.rates import Options
from benchmarks.record import Record

LIMIT_MIB = 2048
"""Peak that training must stay below."""

_EPOCHS = 2
_BATCHES = 4


def problem(device: str, quick: bool) -> tuple[Problem, int]:
    """Return the problem and its number of examples."""
    size = 64 if quick else 2048
    return Problem(device=device, batch=64, layers=(size, size)), 64 * _BATCHES


def records(options: Options) -> list[Record]:
    """Measure every device, on one tile and on tiles of the default size."""
    return [record(device, single, options) for device in DEVICES for single in (True, False)]


def record(device: str, single_tile: bool, options: Options) -> Record:
    """Measure one device.

    Args:
        device: Its name.
        single_tile: One tile for the whole layer.
        options: Sizes, and the reference if it takes part.
    """
    ours = _fresh("ours", device, single_tile, options.quick)
    digital = _fresh("digital", device, single_tile, options.quick)
    tiles = "one tile" if single_tile else "default mapping"
    return Record(
        name=f"memory/{device}/{tiles}",
        unit="MiB",
        higher_is_better=False,
        ours=ours["peak_rss_mib"],
        peer=None if options.peer is None else _peer(options.peer, device, single_tile, options.quick),
        digital=digital["peak_rss_mib"],
        our_setting=tiles,
        peer_setting="" if options.peer is None else f"OMP_NUM_THREADS=1, {tiles}",
        details={
            "limit_mib": LIMIT_MIB,
            "within_limit": ours["peak_rss_mib"] < LIMIT_MIB,
            "after_imports_mib": {"ours": ours["imports_mib"], "digital": digital["imports_mib"]},
        },
    )


def _peer(folder: Path, device: str, single_tile: bool, quick: bool) -> float:
    what, examples = problem(device, quick)
    data = random_digits(what.layers[0], what.layers[-1], examples)
    with PeerWorker(folder, threads=1) as worker:
        worker.prepare("memory", what, data.arrays(), single_tile)
        return worker.measure("memory", _EPOCHS).peak_rss_mib


def _fresh(side: str, device: str, single_tile: bool, quick: bool) -> dict[str, float]:
    """Train in a fresh process and return what it printed."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks.memory", side, device, str(int(single_tile)), str(int(quick))]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def train(side: str, device: str, single_tile: bool, quick: bool) -> dict[str, float]:
    """Train in this process and return its peaks, in MiB.

    Args:
        side: ``"ours"`` or ``"digital"``.
        device: Name of the device.
        single_tile: One tile for the whole layer.
        quick: A small layer instead.
    """
    from benchmarks import digital, ours
    from benchmarks.measure import peak_rss_mib

    imports = peak_rss_mib()
    what, examples = problem(device, quick)
    data = random_digits(what.layers[0], what.layers[-1], examples)
    if side == "ours":
        ours.TrainRunner(what, data, ours.OurSetting(single_tile)).measure(_EPOCHS)
    else:
        digital.DigitalRunner(what, data, digital.settings()[0]).measure(_EPOCHS)
    return {"imports_mib": imports, "peak_rss_mib": peak_rss_mib()}


if __name__ == "__main__":
    print(json.dumps(train(sys.argv[1], sys.argv[2], sys.argv[3] == "1", sys.argv[4] == "1")))
