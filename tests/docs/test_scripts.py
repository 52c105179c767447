"""The scripts of examples/ run, and go on where they were stopped."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.longest
def test_a_sweep_on_what_there_is(tmp_path: Path) -> None:
    sizes = ["--devices", "4", "--epochs", "1", "--examples", "128"]
    found = []
    for part, devices in (("0/2", 1), ("0/2", 2), ("1/2", 1)):
        output = tmp_path / f"{part[0]} {devices}"
        command = [sys.executable, "examples/sweep_on_accelerator.py", *sizes, "--part", part, "--output", str(output)]
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}".strip()
        env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert f"2 configurations on {devices} x cpu" in run.stdout
        with (output / "table.csv").open(newline="") as file:
            found.append(list(csv.DictReader(file)))
    assert found[0] == found[1] and len(found[0]) == 2
    assert {row["device.dw_min"] for row in found[0]}.isdisjoint(row["device.dw_min"] for row in found[2])
