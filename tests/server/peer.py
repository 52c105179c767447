"""The reference's own client, in a Python of its own, for the tests that need it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest


def peer_python() -> Path | None:
    """Return the Python that has aihwkit: of the environment AIHWJAX_PEER, else of the user's cache."""
    folder = os.environ.get("AIHWJAX_PEER")
    python = Path(folder).expanduser() if folder else Path("~/.cache/aihwjax-peer").expanduser()
    python /= "bin/python"
    return python if python.is_file() else None


needs_peer = pytest.mark.skipif(peer_python() is None, reason="no aihwkit: set AIHWJAX_PEER to its environment")


def run_peer(script: str, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a script with the reference's Python in a folder and return what it prints."""
    python = peer_python()
    assert python is not None
    file = folder / "script.py"
    file.write_text("import peer_torchvision\n" + script)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIHW", "PYTHON"))}
    done = subprocess.run(
        [str(python), str(file)],
        cwd=folder,
        env={**inherited, "OMP_NUM_THREADS": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
