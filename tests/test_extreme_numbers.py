"""No number that a configuration accepts gives NaN or infinity; a new field is tried without being named here."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.compounds.cells import UnitCell
from aihwjax.config import LARGEST, SMALLEST, Config, core
from aihwjax.errors import ConfigError
from aihwjax.tile.state import TileState
from tests.extremes import FACTORS, PAIR, hosts
from tests.marks import some

CLASSES = {
    name: cls
    for name, cls in sorted(core._REGISTRY.items())
    if cls.__module__.startswith("aihwjax")
    and not inspect.isabstract(cls)
    and any("number" in f.metadata for f in dataclasses.fields(cls))  # type: ignore[arg-type]
}
SHAPE = (3, 4)
TRIED = (math.inf, LARGEST, -LARGEST, 1e6, -1e6, SMALLEST, -SMALLEST, 0.0)


def numeric(cls: type[Config]) -> dict[str, Any]:
    """Return what is known of each numeric field."""
    return {f.name: f.metadata["number"] for f in dataclasses.fields(cls) if "number" in f.metadata}  # type: ignore[arg-type]


def bare(cls: type[Config]) -> dict[str, Any]:
    """Return the fields without which a class cannot be built."""
    return PAIR if issubclass(cls, UnitCell) else FACTORS.get(cls.__name__, {})


def documentation(cls: type, field: str) -> str:
    """Return the text below a field, in the class that declares it last."""
    for owner in cls.__mro__:
        found = re.search(rf'^    {field}: [^\n]*\n    """(.*?)"""', inspect.getsource(owner), re.M | re.S)
        if found:
            return found.group(1)
    raise AssertionError(f"{cls.__name__}.{field} has no documentation")


@pytest.mark.parametrize("name", CLASSES)
def test_what_single_precision_cannot_hold_is_refused(name: str) -> None:
    cls = CLASSES[name]
    for field, info in numeric(cls).items():
        bad = [math.nan, -math.inf, 1e30, -1e30, 1e300, np.float32("nan"), np.array([1.0, -math.inf])]
        bad += [] if info.infinite else [math.inf, np.array([0.5, math.inf]), jnp.asarray([math.inf])]
        if info.above == 0:
            bad += [1e-45, SMALLEST / 2]
        for value in bad:
            given = (value, 1.0) if info.sequence else value
            with pytest.raises(ConfigError, match=field) as caught:
                cls(**{**bare(cls), field: given})
            assert "\n" not in str(caught.value) or isinstance(value, np.ndarray | jax.Array)


@pytest.mark.parametrize("name", CLASSES)
def test_a_field_says_what_infinity_means(name: str) -> None:
    cls = CLASSES[name]
    for field, info in numeric(cls).items():
        assert ("infinity" in documentation(cls, field)) is info.infinite, f"{name}.{field}"


# Separate programs: each is compiled once for all numbers of a structure
_STEPS = {
    "init": lambda config, key: aj.tile.init(config, key, SHAPE),
    "forward": lambda config, state, key: aj.tile.forward(config, state, _X, key, training=True),
    "backward": lambda config, state, key: aj.tile.backward(config, state, _D, key),
    "update": lambda config, state, key: aj.tile.update(config, state, _X, _D, 0.1, key),
    "end_of_batch": aj.tile.end_of_batch,
    "decay": lambda config, state, key: aj.tile.decay(config, state, 1.0, key),
    "diffuse": aj.tile.diffuse,
    "drift": lambda config, state, key: aj.tile.drift(config, state, 2.0, key),
    "reset": lambda config, state, key: aj.tile.reset(config, state, 0, 2, 0.5, key),
    "set_weights": lambda config, state, key: aj.tile.set_weights(config, state, jnp.full(SHAPE, 0.05), key),
    "chip": lambda config, state, key: _chip(config, key),
}
_TIME = 86400.0
"""Seconds after programming, a time that each noise model knows by default."""
_X = jax.random.normal(jax.random.key(1), (3, SHAPE[1]))
_D = 0.3 * jax.random.normal(jax.random.key(2), (3, SHAPE[0]))
_ALL = ("forward", "backward", "update", "update", "end_of_batch", "decay", "diffuse", "drift", "drift", "reset",
        "end_of_batch", "set_weights", "update", "forward", "backward")  # fmt: skip
_LIVES = {
    "IOParameters": ("forward", "backward"),
    "IOParametersIRDropT": ("forward",),
    "UpdateParameters": ("update", "update", "set_weights", "update"),
    **dict.fromkeys(
        ("WeightModifierParameter", "WeightClipParameter", "WeightRemapParameter"),
        ("end_of_batch", "forward", "backward", "end_of_batch", "forward"),
    ),
}
"""What happens to a tile, where the numbers of a class act on a part of it only."""


def _chip(config: aj.TileConfig, key: jax.Array) -> jax.Array:
    """A chip's weights after programming and some time later, and what it gives."""
    fresh = aj.inference.program(config, 0.1 * _X[:, ::-1], key)
    later = aj.inference.drift(config, fresh, _TIME, key)
    return jnp.concatenate([fresh.weights.ravel(), later.weights.ravel(), later.alpha.ravel()])


@partial(jax.jit, static_argnums=0)
def _step(name: str, *arguments: Any) -> Any:
    return jax.vmap(_STEPS[name], in_axes=(0,) * (len(arguments) - 1) + (None,))(*arguments)


def faults(configs: list[aj.TileConfig], life: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return where an operation leaves NaN anywhere, or infinite weights or outputs, ``(len(configs),)`` each."""
    batch = jax.tree.map(lambda *leaves: jnp.asarray(np.stack([np.float32(leaf) for leaf in leaves])), *configs)
    keys = jax.random.split(jax.random.key(3), len(life) + 1)
    state = _step("init", batch, keys[0])
    found = {"init": _wrong(state)}
    for place, (name, key) in enumerate(zip(life, keys[1:], strict=True)):
        if name == "reset" and isinstance(configs[0].device, aj.FloatingPointDevice):
            continue  # it has none
        result = _step(name, batch, state, key)
        found[f"{place} {name}"] = _wrong(result)
        state = result if isinstance(result, TileState) else state
    return found


def _wrong(result: Any) -> np.ndarray:
    def each(array: jax.Array, test: Any) -> np.ndarray:
        return test(np.asarray(array, np.float32)).reshape(array.shape[0], -1).any(1)

    if not isinstance(result, TileState):
        return each(result, lambda array: ~np.isfinite(array))
    numbers = [leaf for leaf in jax.tree.leaves(result) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return np.any([each(leaf, np.isnan) for leaf in numbers] + [each(result.weights, np.isinf)], axis=0)


def _life(cls: type[Config]) -> tuple[str, ...]:
    return ("chip",) if cls.__module__.startswith("aihwjax.inference") else _LIVES.get(cls.__name__, _ALL)


@pytest.mark.parametrize("name", some(CLASSES, (), tuple(CLASSES)[::4]))
def test_accepted_numbers_give_numbers(name: str) -> None:
    cls = CLASSES[name]
    tiles = hosts(cls)
    assert tiles is not None, f"give {name} a row in tests/extremes.py"
    for build, base in tiles:
        plain = build(cls(**base))
        structure, tried, configs = jax.tree.structure(plain), [base], [plain]
        for field, info in numeric(cls).items():
            for value in TRIED:
                if info.integer and abs(value) > 100:
                    continue  # a number of repetitions: only slow
                given: list[Any] = [value]
                if info.sequence:
                    old = getattr(cls(**base), field)
                    given = [tuple(value if i == k else entry for i, entry in enumerate(old)) for k in range(len(old))]
                for new in given:
                    try:
                        config = build(cls(**{**base, field: new}))
                    except ConfigError:
                        continue
                    if jax.tree.structure(config) == structure:  # else the feature is off
                        tried.append({field: new})
                        configs.append(config)
        for operation, wrong in faults(configs, _life(cls)).items():
            assert not wrong.any(), f"{name} after {operation}: {[tried[i] for i in np.flatnonzero(wrong)]}"


@pytest.mark.slow
def test_infinite_numbers_mean_what_they_say() -> None:
    key, x = jax.random.key(0), jnp.linspace(-1.0, 1.0, 4)[None]

    def outputs(**fields: Any) -> np.ndarray:
        config = aj.SingleRPUConfig(forward=aj.IOParameters(**{"out_noise": 0.0, **fields}))
        return np.asarray(aj.tile.forward(config, aj.tile.init(config, key, SHAPE), x, key))

    free = {"inp_res": 0, "out_res": 0}
    summed = {"noise_management": "ABS_MAX_NP_SUM"}
    for infinite, off in (
        ({"out_bound": math.inf}, {"out_bound": 0}),
        ({"out_bound": np.float32(math.inf) * np.ones(())}, {"out_bound": 0}),
        ({"inp_res": math.inf}, {"inp_res": 0}),
        ({"out_res": math.inf}, {"out_res": 0}),
        ({"nm_thres": math.inf}, {"nm_thres": 0}),
        ({"ir_drop": 1.0, "ir_drop_g_ratio": math.inf}, {}),
        ({**free, **summed, "max_bm_res": math.inf}, {**free, **summed}),
        (
            {"noise_management": "NONE", "inp_bound": math.inf},
            {"noise_management": "NONE", "inp_bound": 0},
        ),
    ):
        np.testing.assert_array_equal(outputs(**infinite), outputs(**off))
    with pytest.raises(ConfigError, match="nm_thres=inf"):
        aj.IOParameters(noise_management="CONSTANT", nm_thres=math.inf)


@pytest.mark.parametrize("device", [aj.ConstantStepDevice, aj.IdealDevice])
def test_an_endless_lifetime_is_no_decay(device: type[aj.ConstantStepDevice | aj.IdealDevice]) -> None:
    config = aj.SingleRPUConfig(device=device(lifetime=math.inf))
    state = aj.tile.init(config, jax.random.key(0), SHAPE)
    after = aj.tile.end_of_batch(config, state, jax.random.key(1))
    np.testing.assert_array_equal(after.weights, state.weights)
