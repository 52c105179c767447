"""Drives the reference in a process of its own: fresh tiles through steps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.directed.case import Directed, Flat
from benchmarks.worker import Worker, WorkerError

WORKER = Path(__file__).with_name("worker.py")


class Reference(Worker):
    """A process of the reference with one thread; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Start the process and wait until it has imported the reference.

        Args:
            folder: Virtual environment of the reference.

        Raises:
            WorkerError: There is no Python in ``folder``, or the reference cannot be imported.
        """
        python = folder / "bin" / "python"
        if not python.exists():
            raise WorkerError(f"--peer {folder}: no bin/python there; give the reference's virtual environment")
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = {**os.environ, **dict.fromkeys(names, "1")}
        env.pop("PYTHONPATH", None)
        super().__init__([python, WORKER], env, "the reference")

    def completed(self, config: Mapping[str, object]) -> Flat:
        """Return a configuration with all that the reference's defaults add to it.

        Raises:
            WorkerError: The reference refused.
        """
        return self.ask({"op": "flatten", "config": dict(config)})["config"]

    def samples(self, case: Directed, repeats: int | None = None) -> dict[str, np.ndarray]:
        """Take fresh tiles of the reference through a case's steps.

        Args:
            case: What to do.
            repeats: How many tiles; by default as many as the case says.

        Returns:
            Record to values, ``(repeats, ...)``.

        Raises:
            WorkerError: The reference refused or died.
        """
        with tempfile.TemporaryDirectory() as folder:
            inputs, results = Path(folder) / "inputs.npz", Path(folder) / "results.npz"
            np.savez(inputs, allow_pickle=False, **case.inputs)
            request = {"config": case.config, "shape": list(case.shape), "steps": [list(step) for step in case.steps]}
            self.ask(
                {
                    "op": "measure",
                    **request,
                    "repeats": repeats or case.repeats,
                    "inputs": str(inputs),
                    "results": str(results),
                }
            )
            with np.load(results) as arrays:
                return {name: arrays[name] for name in arrays.files}
