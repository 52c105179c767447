"""aihwjax: analog in-memory computing in JAX.

Analog tiles are pure functions on pytrees with explicit keys; everything else is a thin shell
around them. The public names are listed in ``__init__.pyi``, which is also where they come
from: a name is imported when it is first used, so that ``import aihwjax`` is quick.
"""

import lazy_loader

from aihwjax import catalogue
from aihwjax.version import __version__ as __version__

catalogue.hand_over("aihwjax.devices", "aihwjax.tile", "aihwjax.compounds", "aihwjax.reference")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
