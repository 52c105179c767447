"""The presets that the wire protocol knows, as configuration documents.

Presets are built with JAX, which the API process never imports: a process of its own prints them once,
``python -m aihwjax.server.faces.wire.presets``.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from typing import Any

_KINDS = ("ReRamES", "ReRamSB", "Capacitor", "EcRam", "Idealized")
NAMES = (
    *(f"{kind}Preset" for kind in (*_KINDS, "PCM")),
    *(f"MixedPrecision{kind}Preset" for kind in (*_KINDS, "PCM")),
    *(f"TikiTaka{kind}Preset" for kind in _KINDS),
)
"""The presets that a layer on the wire may name."""

_SECONDS = 120


@functools.cache
def documents() -> dict[str, dict[str, Any]]:
    """Return the configuration document of each preset by name; takes seconds the first time.

    Raises:
        RuntimeError: If the process that builds them fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"cannot build the presets: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def build() -> dict[str, dict[str, Any]]:
    """Build the presets in this process."""
    from aihwjax import config, presets

    return {name: config.to_dict(presets.by_name(name)()) for name in NAMES}


if __name__ == "__main__":
    json.dump(build(), sys.stdout, allow_nan=False)
