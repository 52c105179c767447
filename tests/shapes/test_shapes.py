"""Arrays have the shapes that the signatures say, and every public signature says them."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.tile.state import FrozenIO
from tests.shapes.checking import has_shape, is_abstract, is_bare, unfitting
from tests.shapes.program import CALLS

ROOT = Path(__file__).resolve().parents[2]
QUICK = (
    "tile: soft_bounds_reference",
    "tile: transfer",
    "tile: mixed precision",
    "tile: frozen",
    "tile: remapped",
    "training: analog bias",
    "training: ranges",
    "training: inference",
    "numbers",
    "losses",
    "activations",
    "convolutions",
    "generals",
    "wrong",
)


def called(names: Iterable[str]) -> dict[str, Any]:
    """Return what a process with the import hook says of some calls."""
    command = [sys.executable, "-m", "tests.shapes", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check(problems: dict[str, str | None]) -> None:
    """Refuse problems of other calls than the one that is wrong on purpose, and no problem of that one."""
    wrong = problems.pop("wrong")
    assert wrong is not None and "first_column" in wrong and "TypeCheckError" in wrong
    assert [f"{name}: {text}" for name, text in problems.items() if text] == []


def test_signatures_say_the_shapes() -> None:
    check(called(QUICK)["problems"])


@pytest.mark.slow
@pytest.mark.longest
def test_signatures_say_the_shapes_of_every_device_and_all_are_called() -> None:
    seen = called(CALLS)
    check(seen["problems"])
    left = {name for name in set(seen["known"]) - set(seen["called"]) if not is_abstract(found(name))}
    assert left <= {
        "aihwjax.compounds.cells.UnitCell.fresh",  # what a cell remembers that remembers nothing
        "aihwjax.devices.floating_point.FloatingPointDevice.reset_weights",  # refuses
    }


def found(name: str) -> Callable[..., Any]:
    """Return a function or method by its dotted name."""
    parts = name.split(".")
    depth = max(n for n in range(1, len(parts)) if ".".join(parts[:n]) in sys.modules)
    return reduce(getattr, parts[depth:], sys.modules[".".join(parts[:depth])])


def public() -> dict[str, Callable[..., Any]]:
    """Return the functions, and the methods of the classes, that users call or write."""
    functions: dict[str, Any] = {}
    for module in (aj.tile, aj.inference, aj.nn, aj.nn.losses, aj.random, aj.devices, aj.plot):
        for name in getattr(module, "__all__", None) or [n for n in dir(module) if n[0] != "_"]:
            thing = inspect.unwrap(getattr(module, name))
            if not getattr(thing, "__module__", "").startswith("aihwjax."):
                continue
            if inspect.isfunction(thing):
                functions[f"{thing.__module__}.{name}"] = thing
            elif inspect.isclass(thing):
                methods = {n: m for n, m in vars(thing).items() if inspect.isfunction(m)}
                functions |= {
                    f"{thing.__module__}.{name}.{n}": m for n, m in methods.items() if n == "__call__" or n[0] != "_"
                }
    return functions


PUBLIC = public()


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations that can be resolved without what only type checkers import."""
    resolved = {}
    for name, hint in function.__annotations__.items():
        try:
            resolved[name] = eval(hint, function.__globals__)
        except NameError:
            continue
    return resolved


def test_no_public_signature_has_an_array_without_a_shape() -> None:
    every = [(f"{name}: {each}", hint) for name, f in PUBLIC.items() for each, hint in hints(f).items()]
    bare = [name for name, hint in every if is_bare(hint)]
    assert bare == []
    assert sum(any(map(has_shape, hints(function).values())) for function in PUBLIC.values()) > 80


@pytest.mark.parametrize("name", ["aihwjax.tile.passes.forward", "aihwjax.nn.losses.nll_loss"])
def test_shapes_are_seen(name: str) -> None:
    assert has_shape(hints(PUBLIC[name])["return"])
    assert not is_bare(hints(PUBLIC[name])["return"])


def test_fields_that_do_not_fit_are_found() -> None:
    right = FrozenIO(v_offset=jnp.ones(3), w_asymmetry=jnp.ones((3, 4)))
    assert unfitting(right) == []
    assert unfitting(FrozenIO(v_offset=jnp.ones(3), w_asymmetry=jnp.ones((4, 3)))) == ["w_asymmetry"]


def test_data_sets_have_the_shapes_of_their_fields() -> None:
    x, y = np.zeros((6, 2, 2)), np.arange(6) % 3
    splits = aj.data.from_arrays(x, y, x[:4], y[:4]).load()
    assert unfitting(splits) == []
    assert unfitting(splits._replace(valid_y=y)) == ["valid_y"]


def test_nothing_checks_annotations_in_use() -> None:
    config, key = aj.SingleRPUConfig(), jax.random.key(0)
    state = aj.tile.init(config, key, (2, 3))
    assert aj.tile.forward(config, state, np.array([[1, 2, 3]]), key).shape == (1, 2)  # type: ignore[arg-type]
    with pytest.raises(aj.ShapeError, match=r"x has shape \(1, 2\): give \(..., 3\)"):
        aj.tile.forward(config, state, np.array([[1, 2]]), key)  # type: ignore[arg-type]
