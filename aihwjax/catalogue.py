"""Which modules define configurations, for those who look one up by name before it was imported.

A configuration is found by the name of its class (:func:`aihwjax.config.registered`), and a dictionary of
the reference by its reader (:func:`aihwjax.config.from_reference`). Both are defined above
:mod:`aihwjax.config`, by modules that register what they define when they are imported. Their
names are handed over by the roof, ``aihwjax/__init__.py``, which knows every layer and always runs
first, whichever module is asked for. They are imported when somebody asks for what isn't there, so
``import aihwjax`` stays quick and no layer imports one above it.
"""

from __future__ import annotations

import importlib

_modules: tuple[str, ...] = ()


def hand_over(*modules: str) -> None:
    """Say which modules register something when they are imported; the roof does, once.

    Args:
        modules: Full names, in the order in which they are imported.
    """
    global _modules
    _modules = modules


def complete() -> None:
    """Import every module that was handed over, so that all it defines is registered."""
    for name in _modules:
        importlib.import_module(name)
