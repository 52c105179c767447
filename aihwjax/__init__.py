"""aihwjax: analog in-memory computing in JAX.

Analog tiles are pure functions on pytrees with explicit keys; everything else is a thin shell
around them. The public names are listed in ``__init__.pyi``, which is also where they come
from: a name is imported when it is first used, so that ``import aihwjax`` is quick.
"""

from typing import Any

import lazy_loader

from aihwjax import catalogue, moved
from aihwjax.version import __version__ as __version__

catalogue.hand_over(
    "aihwjax.devices",
    "aihwjax.inference.conductance",
    "aihwjax.inference.noise",
    "aihwjax.inference.compensation",
    "aihwjax.tile",
    "aihwjax.compounds",
    "aihwjax.reference",
)

_find, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """Import a public name; say of one of aihwkit's what is here in its place."""
    if name in moved.NAMES:
        raise AttributeError(f"module 'aihwjax' has no attribute {name!r}{moved.hint(name, moved.NAMES)}")
    return _find(name)
