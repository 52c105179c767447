"""Experiments on another machine: what is sent, and the client that sends it.

The client needs nothing beyond the package itself; the composer that answers it is
:mod:`aihwjax.server`. Names are imported when they are first used: the composer needs a few
modules of this package in a process that never loads JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
