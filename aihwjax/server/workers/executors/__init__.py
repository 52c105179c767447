"""Where jobs run: as processes beside the worker, or as tasks of Ray."""

from __future__ import annotations

from aihwjax.server.settings import ServerSettings
from aihwjax.server.workers.executors.base import Ended, Executor, Task

__all__ = ["Ended", "Executor", "Task", "executor"]


def executor(settings: ServerSettings) -> Executor:
    """Return the executor that the settings name.

    Args:
        settings: What the operator has set.

    Raises:
        MissingExtraError: If it needs a package that is not installed.
        ConfigError: If its cluster is out of reach.
    """
    if settings.executor == "ray":
        from aihwjax.server.workers.executors.ray import RayExecutor

        return RayExecutor(settings.ray_address)
    from aihwjax.server.workers.executors.local import LocalExecutor

    return LocalExecutor()
