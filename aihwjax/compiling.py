"""Compiled programs that outlive the process, in JAX's own persistent cache (``aj.compile_cache``).

A folder holds programs of one release of JAX and one kind of processor; JAX's key of an entry has the
program, XLA's flags and the platform. JAX locks the folder, drops what was used longest ago when it
grows too large, and compiles again what it cannot read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

from aihwjax import arguments
from aihwjax.errors import ConfigError

SWITCH = "AIHWJAX_COMPILE_CACHE"
"""Environment variable with the folder, or ``off``."""

_OFF = ("off", "0", "no", "false")
_LOCK_SECONDS = 2.0


@arguments.answered
def compile_cache(folder: str | os.PathLike[str] | None = None, *, megabytes: int = 256) -> Path | None:
    """Keep compiled programs, so that the next process loads what this one compiled.

    Call it before the first computation; the command line does. A cache that JAX was given already, by
    ``JAX_COMPILATION_CACHE_DIR`` or ``jax.config``, stays as it is.

    Args:
        folder: Where; the default is the environment variable ``AIHWJAX_COMPILE_CACHE``, else a folder of
            the user's cache. ``AIHWJAX_COMPILE_CACHE=off`` turns the default off.
        megabytes: Size from which on the programs that were used longest ago are dropped.

    Returns:
        The folder in use, ``None`` if there is none: turned off, or the default cannot be written to.

    Raises:
        ConfigError: If a folder that was named cannot be written to, or the size is below 1.
    """
    import jax

    if megabytes < 1:
        raise ConfigError(f"megabytes={megabytes!r} is not allowed: give at least 1")
    settings: Any = jax.config
    if not settings.jax_enable_compilation_cache:
        return None
    if settings.jax_compilation_cache_dir:
        return Path(settings.jax_compilation_cache_dir)
    chosen = os.environ.get(SWITCH) if folder is None else folder
    if folder is None and str(chosen).lower() in _OFF:
        return None
    place = (Path(chosen).expanduser() if chosen else _default()) / kind(jax.__version__)
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(f"no right to write to {place}")
        _drop_incomplete(place)
    except OSError as error:
        if not chosen:
            return None
        name = SWITCH if folder is None else "folder"
        reason = error.strerror or error
        raise ConfigError(f"{name}={str(chosen)!r} is not allowed: give a folder to write to ({reason})") from None
    settings.update("jax_compilation_cache_dir", str(place))
    settings.update("jax_compilation_cache_max_size", megabytes * 2**20)
    # the many small programs around a training step take as long to compile as the step takes to load
    settings.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return place


def kind(version: str) -> str:
    """Return the name of the folder of programs that this processor can run.

    Args:
        version: Release of JAX.
    """
    processor = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return f"jax-{version}-{platform.machine().lower() or 'unknown'}-{processor}"


def _default() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("aihwjax", appauthor=False)) / "programs"


def _processor() -> str:
    """Return what XLA compiles for: the model with its instruction sets, and how many there are to share a loop."""
    described = [platform.processor(), str(os.cpu_count())]
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
            fields = ("model name", "flags", "Features", "CPU part")
            described += sorted({line for line in lines if line.startswith(fields)})
    elif sys.platform == "darwin":
        described.append(platform.version())
    return "\n".join(described)


def _drop_incomplete(place: Path) -> None:
    """Remove entries without a time of use: a process was killed, or the disk was full, while it wrote them.

    JAX would try to read them for ever, and its release 0.10 could not drop anything any more.
    """
    import filelock

    with contextlib.suppress(filelock.Timeout), filelock.FileLock(place / ".lockfile", timeout=_LOCK_SECONDS):
        names = {entry.name for entry in os.scandir(place)}
        for name in names:
            if name.endswith("-cache") and f"{name.removesuffix('-cache')}-atime" not in names:
                (place / name).unlink(missing_ok=True)
