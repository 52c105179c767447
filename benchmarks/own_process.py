"""This library in a process of its own: with one thread, as the reference may have one, or with another JAX.

``python -m benchmarks.own_process`` answers the requests of :class:`OwnProcessRunner`, a JSON line each.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

from benchmarks.measure import Sample
from benchmarks.problem import Problem, digits
from benchmarks.worker import Worker, WorkerError

_ROOT = Path(__file__).resolve().parents[1]


class OwnProcessRunner:
    """A run of ``fit`` in a process of its own."""

    def __init__(
        self, problem: Problem, examples: int, *, threads: int | None = None, python: Path | None = None
    ) -> None:
        """Start the process and compile the network there, one tile a layer.

        Args:
            problem: What to run; training.
            examples: First digits that it trains on.
            threads: Threads of the process; ``None``: as many as JAX takes by itself. One is steadier where kernels are
                many and small.
            python: The interpreter, with the requirements of this library; ``None``: this one.

        Raises:
            WorkerError: The process failed.
        """
        few = {} if threads is None else dict.fromkeys(("NPROC", "OMP_NUM_THREADS"), str(threads))
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, **few, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
        self._worker = Worker([python or sys.executable, "-m", "benchmarks.own_process"], env, "our own process")
        self.versions: dict[str, str] = self._worker.greeting["versions"]
        """Versions of Python and JAX there."""
        request = {"op": "prepare", "problem": problem.plain(), "examples": examples}
        try:
            self.compile_s: float = self._worker.ask(request)["compile_s"]
            """Seconds in the compiler."""
        except WorkerError:
            self.close()
            raise

    def measure(self, epochs: int) -> Sample:
        """Go on for some epochs."""
        return self._worker.measure("", epochs)

    def close(self) -> None:
        """End the process."""
        self._worker.close()


def main() -> None:
    """Serve requests from standard input until its end."""
    import platform

    import jax

    from benchmarks import ours

    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed must not mix with the answers
    versions = {"python": platform.python_version(), "jax": jax.__version__}
    replies.write(json.dumps({"versions": versions}) + "\n")
    runner: ours.TrainRunner | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "prepare":
            problem = Problem.from_plain(request["problem"])
            runner = ours.TrainRunner(problem, digits().cut(request["examples"]), ours.OurSetting(single_tile=True))
            reply: dict[str, object] = {"compile_s": runner.compile_s}
        else:
            assert runner is not None
            reply = dataclasses.asdict(runner.measure(request["epochs"]))
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
