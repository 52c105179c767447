"""Models of Flax made analog, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import ConfigError, ModuleError
from tests.marks import some
from tests.nn.models import exact, inputs, noisy

KEY = jax.random.key(3)


class Mixed(nnx.Module):
    """Layers in attributes, lists and dicts, one of them in two places, and what stays digital."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(2, 4, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(4, 4, rngs=rngs), nnx.LayerNorm(4, rngs=rngs)])
        self.named = nnx.Dict(a=nnx.Linear(4, 4, use_bias=False, rngs=rngs))
        self.tail = self.blocks[0]
        self.up = nnx.ConvTranspose(4, 3, (2, 2), strides=(2, 2), transpose_kernel=True, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.stem(x)))
        x = self.tail(self.blocks[1](self.blocks[0](x)))
        return self.up(self.named["a"](x))


class Cells(nnx.Module):
    """Recurrent cells of Flax in Flax's loop over time."""

    def __init__(self, cell: type, rngs: nnx.Rngs) -> None:
        self.rnn = nnx.RNN(cell(4, 6, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.rnn(x)


class Stack(nnx.Module):
    """Layers that are stacked and scanned over."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        keys = jax.random.split(rngs.params(), 3)
        self.layers = nnx.vmap(lambda key: nnx.Linear(4, 4, rngs=nnx.Rngs(key)))(keys)

    def __call__(self, x: jax.Array) -> jax.Array:
        step = nnx.scan(lambda x, layer: jnp.tanh(layer(x)), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return step(x, self.layers)


class Attention(nnx.Module):
    """Attention as Flax has it."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.attend = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.embed = nnx.Embed(11, 8, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.attend(self.embed(tokens))


MODELS: dict[str, tuple[Callable[[nnx.Rngs], nnx.Module], jax.Array, list[str]]] = {
    "mixed": (Mixed, inputs(3, 6, 6, 2), ["stem", "blocks/0", "named/a", "up"]),
    "attention": (
        Attention,
        jnp.arange(10).reshape(2, 5),
        [f"attend/{name}" for name in ("query", "key", "value", "out")],
    ),
    "stack": (Stack, inputs(5, 4), ["layers"]),
    "lstm": (
        lambda rngs: Cells(nnx.LSTMCell, rngs),
        inputs(2, 5, 4),
        [f"rnn/cell/{a}{b}" for a in "ih" for b in ("i", "f_" if a == "i" else "f", "g", "o")],
    ),
    "gru": (lambda rngs: Cells(nnx.GRUCell, rngs), inputs(2, 5, 4), []),
    "optimized lstm": (
        lambda rngs: Cells(nnx.OptimizedLSTMCell, rngs),
        inputs(2, 5, 4),
        ["rnn/cell/dense_i", "rnn/cell/dense_h"],
    ),
    "sequential": (
        lambda rngs: nnx.Sequential(nnx.Linear(4, 6, rngs=rngs), nnx.relu, nnx.Linear(6, 2, rngs=rngs)),
        inputs(5, 4),
        ["layers/0", "layers/2"],
    ),
    "one layer": (lambda rngs: nnx.Linear(4, 6, rngs=rngs), inputs(5, 4), ["model"]),
    "general": (
        lambda rngs: nnx.LinearGeneral((3, 4), (2, 5), axis=(1, -1), rngs=rngs),
        inputs(6, 3, 7, 4),
        ["model"],
    ),
}


@pytest.mark.parametrize("name", some(MODELS, ("mixed", "attention", "stack")))
def test_exact_tiles_do_what_the_model_did_and_go_back(name: str) -> None:
    build, x, paths = MODELS[name]
    digital = build(nnx.Rngs(0))
    digital.eval()
    expected = digital(x)  # type: ignore[operator]
    plan = nn.plan_conversion(digital, exact())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analog = aj.convert_to_analog(digital, exact())
    if paths:
        assert sorted(plan.converted) == sorted(paths) == sorted(nn.analog_layers(analog))
    y = nn.call(analog, x, key=KEY)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    compiled = nnx.jit(lambda model, key: nn.call(model, x, key=key))(analog, KEY)
    np.testing.assert_allclose(compiled, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(digital(x), expected)  # type: ignore[operator]  # it is as it was
    back = aj.convert_to_digital(analog)
    assert not nn.analog_layers(back)
    np.testing.assert_allclose(back(x), expected, rtol=1e-5, atol=1e-5)  # type: ignore[operator]
    kinds = [type(part) for _, part in nnx.iter_modules(digital)]
    assert [type(part) for _, part in nnx.iter_modules(back)] == kinds


def test_a_layer_in_two_places_is_converted_once() -> None:
    analog: Any = aj.convert_to_analog(Mixed(nnx.Rngs(0)), exact())
    assert analog.tail is analog.blocks[0]
    assert isinstance(analog.tail, nn.AnalogLinear)


@pytest.mark.slow
def test_a_converted_model_trains_in_a_loop_of_ones_own() -> None:
    model = aj.convert_to_analog(Mixed(nnx.Rngs(0)), noisy())
    optimizer = aj.analog_sgd(0.05)
    x, target = inputs(4, 6, 6, 2), 0.3 * inputs(4, 6, 6, 3, seed=4)

    def loss(model: nnx.Module, key: jax.Array) -> jax.Array:
        return ((nn.call(model, x, key=key) - target) ** 2).mean()

    @nnx.jit
    def step(model: nnx.Module, state: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        value, gradients = nn.value_and_grad(loss)(model, key)
        return value, optimizer.update(model, gradients, state, key)

    state, values = optimizer.init(model), []
    for number in range(30):
        value, state = step(model, state, jax.random.fold_in(KEY, number))
        values.append(float(value))
    assert np.mean(values[-5:]) < 0.8 * np.mean(values[:3])


def test_layers_of_a_stack_have_devices_and_weights_of_their_own() -> None:
    digital: Any = Stack(nnx.Rngs(0))
    analog: Any = aj.convert_to_analog(digital, aj.InferenceRPUConfig())
    state = analog.layers.tiles[0].state.get_value()
    assert state.weights.shape == (3, 4, 4)
    np.testing.assert_allclose(state.weights, jnp.swapaxes(digital.layers.kernel.get_value(), 1, 2), atol=1e-6)
    pulsed: Any = aj.convert_to_analog(digital, aj.SingleRPUConfig())
    steps = pulsed.layers.tiles[0].state.get_value().device.dwmin_up
    assert (steps[0] != steps[1]).all()


def test_clipped_weights_are_said() -> None:
    wide = nnx.Linear(3, 2, kernel_init=nnx.initializers.constant(5.0), rngs=nnx.Rngs(0))
    model = nnx.List([wide, nnx.Linear(3, 2, kernel_init=nnx.initializers.constant(0.01), rngs=nnx.Rngs(0))])
    with pytest.warns(UserWarning, match=r"clipped or with write noise: 0 \(6\); mapping\.weight_scaling_omega"):
        aj.convert_to_analog(model, aj.SingleRPUConfig())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaled = aj.SingleRPUConfig(
            device=aj.ConstantStepDevice(w_max_dtod=0.0, w_min_dtod=0.0),
            mapping=aj.MappingParameter(weight_scaling_omega=0.5),
        )
        analog = aj.convert_to_analog(model, scaled)
    np.testing.assert_allclose(analog[0].get_weights()[0], 5.0, rtol=1e-5)  # type: ignore[index]


def test_keys_decide_about_devices() -> None:
    digital = nnx.Linear(4, 6, rngs=nnx.Rngs(0))
    first, again, other = (
        aj.convert_to_analog(digital, aj.SingleRPUConfig(), key=key).tiles[0].state.get_value().device.dwmin_up  # type: ignore[attr-defined]
        for key in (1, jax.random.key(1), 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_filters_and_configurations() -> None:
    model = Mixed(nnx.Rngs(0))

    def converted(**arguments: Any) -> list[str]:
        plan = nn.plan_conversion(model, **arguments)
        analog = aj.convert_to_analog(model, **arguments)
        assert sorted(nn.analog_layers(analog)) == sorted(plan.converted)
        return plan.converted

    assert converted(include="blocks/*") == converted(include="tail") == ["blocks/0"]
    assert converted(include=nnx.Linear, exclude=["named/*"]) == ["blocks/0"]
    assert converted(include=lambda path, layer: getattr(layer, "in_features", 0) == 2) == ["stem"]
    assert converted(config={"stem": None, "up": None, "*": exact()}) == ["blocks/0", "named/a"]
    assert converted(config=lambda path, layer: exact() if path == "stem" else None) == ["stem"]
    analog = aj.convert_to_analog(model, {"stem": aj.InferenceRPUConfig(), "*": exact()})
    inference = {path: tile.config.get_value().inference for path, tile in nn.analog_tiles(analog).items()}
    assert [path for path, is_one in inference.items() if is_one] == ["stem/tiles/0"]


class Own(nnx.Linear):
    """A layer of somebody's own."""

    def norm(self) -> jax.Array:
        return jnp.linalg.norm(self.kernel.get_value())


def test_what_cannot_be_converted_is_said() -> None:
    rngs = nnx.Rngs(0)
    own, wide = Own(4, 4, rngs=rngs), nnx.Conv(4, 4, (3,), input_dilation=2, rngs=rngs)
    first, second = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)
    second.kernel = first.kernel
    heads = nnx.LinearGeneral((4,), (2,), batch_axis={0: 3}, rngs=rngs)
    einsum = nnx.Einsum("ab,abc->ac", (4, 4, 4), rngs=rngs)
    model = nnx.List([own, wide, first, second, heads, einsum, nnx.LayerNorm(4, rngs=rngs)])
    many = "the kernel has a matrix for each entry of 'a', an axis of input and result"
    plan = nn.plan_conversion(model)
    assert plan.left == {
        "0": "Own adds norm to nnx.Linear: give converters={Own: function}",
        "1": "input_dilation=2: AnalogConvTranspose widens images by its strides",
        "2": "it shares its kernel with 3",
        "3": "it shares its kernel with 2",
        "4": "batch_axis has a matrix for each entry",
        "5": f"einsum_str='ab,abc->ac' is not one matrix: {many}",
        "6": "has no matrix on tiles",
    }
    with pytest.warns(UserWarning, match=r"these layers stay digital: 0 \(Own adds norm.*; 5 \(einsum_str"):
        analog = aj.convert_to_analog(model)
    assert [type(part) for part in analog] == [type(part) for part in model]  # type: ignore[attr-defined]

    def by_hand(layer: Own, config: aj.TileConfig, key: jax.Array) -> nnx.Module:
        made = nn.AnalogLinear(layer.in_features, layer.out_features, config=config, rngs=nnx.Rngs(params=key))
        made.set_weights(layer.kernel.get_value().T, layer.bias.get_value(), key=key)  # type: ignore[union-attr]
        return made

    analog = aj.convert_to_analog(nnx.List([own]), exact(), converters={Own: by_hand})
    np.testing.assert_allclose(analog[0](inputs(2, 4), key=KEY), own(inputs(2, 4)), rtol=1e-5, atol=1e-5)  # type: ignore[index]
    assert "already" in nn.plan_conversion(analog).left["0"]


def test_the_plan_is_a_table() -> None:
    text = str(nn.plan_conversion(Mixed(nnx.Rngs(0)), exclude="named/*"))
    assert text.splitlines()[0].split() == ["analog", "blocks/0", "Linear", "AnalogLinear"]
    assert text.endswith("3 of 6 layers become analog")
    assert "digital  named/a" in text and "excluded" in text


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "idle": ({"exclude": "block/*"}, "exclude='block/*' fits no layer: there are"),
    "idle class": ({"include": nnx.LinearGeneral}, "include=LinearGeneral fits no layer"),
    "idle config": ({"config": {"head": None}}, "config='head' fits no layer"),
    "filter": ({"include": 3}, "include=3 is not allowed"),
    "config": ({"config": 3}, "config=3 is not allowed"),
    "config by path": ({"config": {"*": 3}}, "config={'*': 3} is not allowed"),
    "config by function": ({"config": lambda path, layer: 3}, "returned 3: give a TileConfig or None"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_one_line(name: str) -> None:
    arguments, text = WRONG[name]
    for function in (aj.convert_to_analog, nn.plan_conversion):
        with pytest.raises(ConfigError) as caught:
            function(Mixed(nnx.Rngs(0)), **arguments)  # type: ignore[operator]
        assert text in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_model_is_one_line() -> None:
    with pytest.raises(ModuleError, match="model=3 is not allowed"):
        aj.convert_to_analog(3)  # type: ignore[arg-type]
    with pytest.raises(ModuleError, match="model=3 is not allowed"):
        aj.convert_to_digital(3)  # type: ignore[arg-type]
    with pytest.raises(ModuleError, match=r"the converter of model \(Own\) returned 3"):
        aj.convert_to_analog(Own(2, 2, rngs=nnx.Rngs(0)), converters={Own: lambda *_: 3})  # type: ignore[dict-item, return-value]
