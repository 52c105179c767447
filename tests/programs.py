"""Programs that the tests compile: where they are kept, and how many were compiled, counted over all workers.

``python -m tests.programs`` prints the folder.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import jax
import pytest

from aihwjax.compiling import kind

_MOST_BYTES = 2 * 2**30
_KEY = "programs"
_LONGEST = 30
_SECONDS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
    "/jax/compilation_cache/cache_retrieval_time_sec": "loading",
}
_COUNTS = {"/jax/compilation_cache/cache_hits": "loaded", "/jax/compilation_cache/cache_misses": "written"}


def folder() -> Path:
    """Return the folder of compiled programs: one for all workers, suites and notebooks."""
    return Path(__file__).resolve().parents[1] / ".cache" / "jax" / kind(jax.__version__)


def keep() -> None:
    """Keep what this process, and those that it starts, compile.

    They write without a lock: with one, JAX looks at every entry of the folder before each that it writes. An entry
    that is read half written fails its check sum, and is compiled again.
    """
    settings = {"jax_compilation_cache_dir": str(folder()), "jax_persistent_cache_min_compile_time_secs": 0.0}
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


def compile_quickly() -> None:
    """Let XLA optimise nothing, and leave out its fusion emitters where there is a choice: less than half of its time.

    For tests whose time is XLA's. What runs for more than a moment runs several times as long then: tests that are
    marked ``runs_long`` compile as users do, and so do notebooks and `make demo`.
    """
    flags = ["--xla_cpu_use_fusion_emitters=false"] if jax.__version_info__ < (0, 11) else []
    flags += ["--xla_backend_optimization_level=0"]
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()


def keep_small() -> None:
    """Begin anew when the programs of old code fill the folder."""
    if folder().is_dir() and sum(entry.stat().st_size for entry in os.scandir(folder())) > _MOST_BYTES:
        shutil.rmtree(folder(), ignore_errors=True)


class Counts:
    """A plugin that listens to JAX, and prints the sums over all workers at the end of a run."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.files: dict[str, float] = {}
        jax.monitoring.register_event_listener(self._happened)
        jax.monitoring.register_event_duration_secs_listener(self._took)

    def _happened(self, event: str, **_: Any) -> None:
        if event in _COUNTS:
            self._add(_COUNTS[event], 1)

    def _took(self, event: str, seconds: float, **_: Any) -> None:
        if event in _SECONDS:
            self._add(_SECONDS[event], seconds)
        if event.endswith("backend_compile_duration"):
            self._add("programs", 1)

    def _add(self, name: str, amount: float) -> None:
        self.totals[name] = self.totals.get(name, 0) + amount

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand a worker's counts over."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_KEY] = self.totals

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the counts of a worker that has finished."""
        for name, amount in getattr(node, "workeroutput", {}).get(_KEY, {}).items():
            self._add(name, amount)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add the seconds of a test to its file."""
        file = report.nodeid.partition("::")[0]
        self.files[file] = self.files.get(file, 0.0) + report.duration

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the counts, and which files took longest."""
        terminalreporter.write_line(described(self.totals))
        longest = sorted(self.files.items(), key=lambda item: -item[1])[:_LONGEST]
        terminalreporter.write_line("seconds of files: " + ", ".join(f"{name} {s:.0f}" for name, s in longest))


def described(totals: dict[str, float]) -> str:
    """Return one line about the counts of a run."""
    count = {name: totals.get(name, 0.0) for name in (*_SECONDS.values(), *_COUNTS.values(), "programs")}
    return (
        f"programs: {count['programs']:.0f}, of which {count['loaded']:.0f} loaded in {count['loading']:.0f} s and "
        f"{count['programs'] - count['loaded']:.0f} compiled in {count['compiling'] - count['loading']:.0f} s "
        f"({count['written']:.0f} kept); tracing {count['tracing']:.0f} s, lowering {count['lowering']:.0f} s"
    )


if __name__ == "__main__":
    print(folder())
