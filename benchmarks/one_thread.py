"""This library in a process of one thread, as the reference may have one: steadier where kernels are many and small.

``python -m benchmarks.one_thread`` answers the requests of :class:`OneThreadRunner`, a JSON line each.
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


class OneThreadRunner:
    """A run of ``fit`` in a process of its own."""

    def __init__(self, problem: Problem, examples: int) -> None:
        """Start the process and compile the network there, one tile a layer.

        Args:
            problem: What to run; training.
            examples: First digits that it trains on.

        Raises:
            WorkerError: The process failed.
        """
        one = dict.fromkeys(("NPROC", "OMP_NUM_THREADS"), "1")
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, **one, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
        self._worker = Worker([sys.executable, "-m", "benchmarks.one_thread"], env, "one thread")
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
    from benchmarks import ours

    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed must not mix with the answers
    replies.write(json.dumps({"ready": True}) + "\n")
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
