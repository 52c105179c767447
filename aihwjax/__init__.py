"""aihwjax: analog in-memory computing in JAX.

Analog tiles are pure functions on pytrees with explicit keys; everything else is a thin shell
around them. The public names are listed in ``__init__.pyi``, which is also where they come
from: a name is imported when it is first used, so that ``import aihwjax`` is quick.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
