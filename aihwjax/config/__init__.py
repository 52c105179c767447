"""Configurations: frozen, validated dataclasses that are JAX pytrees.

Every configuration of the library is a class decorated with :func:`configclass`.
Its *numbers* are pytree leaves, so they can be traced, vmapped, differentiated and
changed without recompiling. Its *choices* (enums, bools, shapes) are part of the
tree structure, so they select the program.

A feature that is switched off by its number (``out_noise=0.0``, ``inp_res=-1``)
costs nothing: such a number is declared with an ``off`` condition, and while a
plain Python number fulfils it, the field is *absent* from the tree. The physics
asks :meth:`Config.present` and never branches on a traced number. A number given as
an array (a sweep) is always present.
"""

from aihwjax.config.core import (
    Config,
    configclass,
    known,
    not_positive,
    number,
    numbers,
    part,
    registered,
    replace,
    zero,
)
from aihwjax.config.documents import (
    default_dict,
    defaults,
    difference,
    from_dict,
    from_json,
    from_reference,
    from_toml,
    read_toml,
    to_dict,
    to_json,
    to_toml,
)
from aihwjax.config.limits import LARGEST, SMALLEST
from aihwjax.config.text import whole

__all__ = [
    "LARGEST",
    "SMALLEST",
    "Config",
    "configclass",
    "default_dict",
    "defaults",
    "difference",
    "from_dict",
    "from_json",
    "from_reference",
    "from_toml",
    "known",
    "not_positive",
    "number",
    "numbers",
    "part",
    "read_toml",
    "registered",
    "replace",
    "to_dict",
    "to_json",
    "to_toml",
    "whole",
    "zero",
]
