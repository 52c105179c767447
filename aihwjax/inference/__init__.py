"""Inference chips: programming weights as conductances, and what time does to them, as pure functions.

Converters are in :mod:`~aihwjax.inference.conductance`, noise models in :mod:`~aihwjax.inference.noise`, one file
each. The configuration of a tile has a noise model and a compensation, so these files lie below
:mod:`aihwjax.tile`; :mod:`~aihwjax.inference.chip` is above it. Names are imported when they are first used, so
that neither waits for the other.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
