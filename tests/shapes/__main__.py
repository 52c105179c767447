"""Makes the calls named on the command line under jaxtyping's import hook; writes what went wrong as JSON.

In a process of its own, because the hook has to be there before the package is imported, and because
other tests give wrong shapes on purpose.
"""

from __future__ import annotations

import importlib
import json
import sys

from jaxtyping import install_import_hook

from tests.shapes.checking import LOG

MODULES = (
    "aihwjax.tile", "aihwjax.nn", "aihwjax.devices", "aihwjax.compounds", "aihwjax.random", "aihwjax.optim",
    "aihwjax.quantization",
)  # fmt: skip

with install_import_hook([*MODULES, "tests.shapes.wrong"], "tests.shapes.checking.LOG.checked"):
    program = importlib.import_module("tests.shapes.program")
    for module in MODULES:
        importlib.import_module(module)
    importlib.import_module("tests.shapes.wrong")

problems = {name: program.problem(program.CALLS[name]) for name in sys.argv[1:]}
json.dump({"problems": problems, "known": sorted(LOG.known), "called": sorted(LOG.called)}, sys.stdout)
