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


def documents() -> dict[str, dict[str, Any]]:
    """Return the configuration document of each preset of a training by name; takes seconds the first time.

    Raises:
        RuntimeError: If the process that builds them fails.
    """
    return _printed()["training"]


def inference_documents() -> dict[str, dict[str, Any]]:
    """Return those of an inference: tiles, noise models and the drift compensation, by name.

    Raises:
        RuntimeError: If the process that builds them fails.
    """
    return _printed()["inference"]


@functools.cache
def _printed() -> dict[str, dict[str, dict[str, Any]]]:
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
    """Build the presets of a training in this process."""
    from aihwjax import config, presets

    return {name: config.to_dict(presets.by_name(name)()) for name in NAMES}


def build_inference() -> dict[str, dict[str, Any]]:
    """Build those of an inference in this process."""
    import aihwjax as aj
    from aihwjax import config, presets

    made = {
        "InferenceRPUConfig": aj.InferenceRPUConfig(),
        **{f"{age}WebComposerInferenceRPUConfig": None for age in ("", "Old")},
        "PCMLikeNoiseModel": aj.PCMLikeNoiseModel(),
        "StateIndependentNoiseModel": aj.StateIndependentNoiseModel(),
        "GlobalDriftCompensation": aj.GlobalDriftCompensation(),
    }
    return {name: config.to_dict(value or presets.by_name(name)()) for name, value in made.items()}


if __name__ == "__main__":
    json.dump({"training": build(), "inference": build_inference()}, sys.stdout, allow_nan=False)
