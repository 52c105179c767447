"""Drives the reference in processes of its own, so that its rounds interleave with ours."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.measure import Sample
from benchmarks.problem import INFERENCE, LEARNED_RANGES, MODIFIER_STD, Network, Problem, Task
from benchmarks.worker import Worker, WorkerError

WORKER = Path(__file__).with_name("peer_worker.py")
REFERENCE = "aihwkit"
LIGHTNING = "aihwkit-lightning"
"""A library for hardware-aware training alone, measured where the virtual environment has it."""


@dataclasses.dataclass(frozen=True)
class PeerSetting:
    """A way to run the reference; every measurement counts the best of them."""

    threads: int
    """``OMP_NUM_THREADS`` of its process."""
    single_tile: bool
    """One tile a layer, instead of the reference's default of at most 512 rows and columns."""
    library: str = REFERENCE
    """Who runs: :data:`REFERENCE`, its other inference tile, or :data:`LIGHTNING` in two ways."""

    @property
    def name(self) -> str:
        """How records name the setting."""
        tiles = "one tile a layer" if self.single_tile else "default mapping"
        who = "" if self.library == REFERENCE else f"{self.library}, "
        return f"{who}OMP_NUM_THREADS={self.threads}, {tiles}"

    @property
    def rival(self) -> str:
        """Whose figure it is."""
        return LIGHTNING if self.library.startswith(LIGHTNING) else REFERENCE


def settings() -> list[PeerSetting]:
    """Return all settings that are tried: one thread and all cores, with and without split layers."""
    return [PeerSetting(count, single) for count in thread_counts() for single in (False, True)]


def ranges_settings(lightning: bool) -> list[PeerSetting]:
    """Return the settings of inference tiles with learned ranges: the reference's two tiles, and the other library.

    Args:
        lightning: Whether aihwkit-lightning is installed.
    """
    others = (LIGHTNING, f"{LIGHTNING} fast ranges") if lightning else ()
    ways = [
        (REFERENCE, False),
        (REFERENCE, True),
        (f"{REFERENCE} torch tile", True),
        *((name, True) for name in others),
    ]
    return [PeerSetting(count, single, library) for count in thread_counts() for library, single in ways]


def thread_counts() -> list[int]:
    """Return one thread and all cores."""
    return sorted({1, len(os.sched_getaffinity(0))})


class PeerWorker(Worker):
    """A process of the reference under a fixed number of threads; use as a context manager."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Start the process and wait until it has imported the reference.

        Args:
            folder: Virtual environment of the reference.
            threads: ``OMP_NUM_THREADS``.

        Raises:
            WorkerError: There is no Python in ``folder``, or the reference cannot be imported.
        """
        python = folder / "bin" / "python"
        if not python.exists():
            raise WorkerError(f"--peer {folder}: no bin/python there; give the reference's virtual environment")
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        env = {**os.environ, **dict.fromkeys(names, str(threads))}
        env.pop("PYTHONPATH", None)
        super().__init__([python, WORKER], env, "the reference")

    def prepare(
        self,
        name: str,
        problem: Problem,
        arrays: Mapping[str, np.ndarray],
        single_tile: bool,
        seed: int = 0,
        library: str = REFERENCE,
    ) -> float:
        """Build a network in the worker and return the seconds that it took.

        Args:
            name: What later calls of :meth:`measure` call it.
            problem: What it does.
            arrays: ``images`` with ``labels``, or with ``gradients`` for updates alone.
            single_tile: One tile a layer.
            seed: Seed of weights, order and noise.
            library: As in :class:`PeerSetting`.

        Raises:
            WorkerError: The reference refused.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "digits.npz"
            np.savez(path, allow_pickle=False, **arrays)
            modifier_std = MODIFIER_STD if problem.device in INFERENCE else None
            request = {
                **problem.plain(),
                "single_tile": single_tile,
                "modifier_std": modifier_std,
                "learned_ranges": problem.device == LEARNED_RANGES,
                "library": library,
                "data": str(path),
                "seed": seed,
            }
            return self.ask({"op": "prepare", "name": name, **request})["prepare_s"]

    def accuracy(self, name: str, arrays: Mapping[str, np.ndarray]) -> float:
        """Return the share of examples that a network names right.

        Args:
            name: As in :meth:`prepare`.
            arrays: ``images`` and ``labels``.

        Raises:
            WorkerError: The reference refused.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "digits.npz"
            np.savez(path, allow_pickle=False, **arrays)
            return self.ask({"op": "accuracy", "name": name, "data": str(path)})["accuracy"]


class Peer(contextlib.ExitStack):
    """The reference under every setting: one worker for each number of threads; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Start the workers.

        Args:
            folder: Virtual environment of the reference.

        Raises:
            WorkerError: One of them did not start; none is left running.
        """
        super().__init__()
        self.settings = settings()
        self._workers: dict[int, PeerWorker] = {}
        with contextlib.ExitStack() as started:
            for threads in {setting.threads for setting in self.settings}:
                self._workers[threads] = started.enter_context(PeerWorker(folder, threads))
            self.push(started.pop_all())

    def prepare(self, problem: Problem, arrays: Mapping[str, np.ndarray]) -> dict[str, PeerRunner]:
        """Build the problem's network under every setting that makes a difference to it.

        Args:
            problem: What to run.
            arrays: ``images`` with ``labels``, or with ``gradients`` for updates alone.

        Returns:
            Runners by the name of their setting.
        """
        split = problem.network is Network.CLASSIFIER and any(width > 512 for width in problem.layers)
        ways = self.settings
        if problem.device == LEARNED_RANGES and problem.task is Task.TRAIN:
            ways = ranges_settings(all(worker.greeting.get("lightning") for worker in self._workers.values()))
        return {
            setting.name: PeerRunner(self._workers[setting.threads], setting, problem, arrays)
            for setting in ways
            if split or setting.single_tile
        }


class PeerRunner:
    """One network of the reference under one setting."""

    def __init__(
        self, worker: PeerWorker, setting: PeerSetting, problem: Problem, arrays: Mapping[str, np.ndarray]
    ) -> None:
        """Build it in ``worker``."""
        self.setting = setting
        self._worker = worker
        self._name = f"{problem.name} {setting.name}"
        self.prepare_s = worker.prepare(self._name, problem, arrays, setting.single_tile, library=setting.library)

    def measure(self, epochs: int) -> Sample:
        """Go on for some epochs."""
        return self._worker.measure(self._name, epochs)
