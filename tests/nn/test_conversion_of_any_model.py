"""Models of all kinds made analog: they do what they did, go back, and what stays digital is said."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import ConfigError, ModuleError, NonFiniteError, ShapeError
from tests.marks import some
from tests.nn.any_models import MODELS, Adapted, Containers, Dense
from tests.nn.models import exact, inputs, noisy

KEY = jax.random.key(3)


def close(y: jax.Array, wanted: jax.Array) -> None:
    assert y.dtype == wanted.dtype and y.shape == wanted.shape
    tolerance = 1e-5 if y.dtype == jnp.float32 else 0.05
    np.testing.assert_allclose(
        np.asarray(y, np.float32), np.asarray(wanted, np.float32), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("name", some(MODELS, ("einsums", "low rank", "containers"), ("attention", "scanned")))
def test_exact_tiles_do_what_the_model_did_and_go_back(name: str) -> None:
    build, arguments, paths = MODELS[name]

    def digital() -> Any:
        model: Any = build(nnx.Rngs(0))
        model.eval()
        return model

    expected = digital()(*arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analog = aj.convert_to_analog(digital(), exact(digital_bias=name != "einsums"))
        again = digital()
        same = aj.convert_to_analog(again, exact(), inplace=True)
    assert same is again and sorted(nn.analog_layers(same)) == sorted(nn.analog_layers(analog)) == sorted(paths)
    back: Any = aj.convert_to_digital(analog)  # before a call, which may change caches
    close(nn.call(analog, *arguments, key=KEY), expected)
    close(nn.call(same, *arguments, key=KEY), expected)
    close(back(*arguments), expected)
    kinds = [type(part) for _, part in nnx.iter_modules(digital())]
    plain = [base if (base := _flax(kind)) else kind for kind in kinds]
    assert [type(part) for _, part in nnx.iter_modules(back)] == plain


def _flax(kind: type) -> type | None:
    return nnx.Linear if kind is Dense else None


def test_what_is_one_stays_one() -> None:
    digital: Any = Containers(nnx.Rngs(0))
    analog: Any = aj.convert_to_analog(digital, exact())
    assert analog.list[0] is analog.dict["b"] is analog.tuple[1][1] and analog.plain[0] is analog.tuple[0]
    assert isinstance(digital.list[0], Dense) and type(analog.list[0]) is nn.AnalogLinear
    assert analog.list[2].scale.get_value() is digital.list[2].scale.get_value()  # arrays that stay are shared
    assert type(analog.plain) is list and type(analog.tuple) is tuple


@pytest.mark.slow
def test_low_rank_parts_train_beside_tiles_that_stay() -> None:
    model: Any = aj.convert_to_analog(Adapted(nnx.Rngs(0)), noisy())
    optimizer = aj.analog_sgd(0.0, digital=optax.adam(0.02))
    x, target = inputs(8, 4), inputs(8, 3, seed=4)
    weights = model.inner.get_weights()[0]
    before = model.inner.lora.lora_a.get_value()

    def loss(model: nnx.Module, key: jax.Array) -> jax.Array:
        return ((nn.call(model, x, key=key) - target) ** 2).mean()

    state = optimizer.init(model)
    _, gradients = nn.value_and_grad(loss)(model, KEY)
    optimizer.update(model, gradients, state, KEY)
    assert (model.inner.lora.lora_a.get_value() != before).all()
    np.testing.assert_array_equal(model.inner.get_weights()[0], weights)
    assert "lora_rank=2" in str(model.inner)


class Scaled(nnx.Linear):
    """A layer that does something of its own."""

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        return 2 * super().__call__(inputs)


class Gated(nnx.Linear):
    """A layer with one more parameter."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        super().__init__(4, 4, rngs=rngs)
        self.gate = nnx.Param(jnp.ones(4))


def _pruned(rngs: nnx.Rngs) -> nnx.Module:
    layer = nnx.Linear(4, 4, rngs=rngs)
    layer.kernel.set_value(layer.kernel.get_value()[:3])
    return layer


def _einsum(text: str, shape: tuple[int, ...], **fields: Any) -> nnx.Module:
    return nnx.Einsum(text, shape, rngs=nnx.Rngs(0), **fields)


def test_what_stays_digital_is_named_with_its_reason() -> None:
    rngs = nnx.Rngs(0)
    tied, other = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)
    other.bias = tied.bias
    layers: dict[str, tuple[nnx.Module, str]] = {
        "call": (Scaled(4, 4, rngs=rngs), "Scaled adds __call__ to nnx.Linear: give converters={Scaled: function}"),
        "state": (Gated(rngs), "Gated adds gate to nnx.Linear: give converters={Gated: function}"),
        "shape": (_pruned(rngs), "its kernel has the shape (3, 4), its arguments say (4, 4)"),
        "heads": (
            _einsum("bha,hac->bhc", (2, 3, 4)),
            (
                "einsum_str='bha,hac->bhc' is not one matrix: "
                "the kernel has a matrix for each entry of 'h', an axis of input and result"
            ),
        ),
        "op": (
            _einsum("ab,bc->ac", (3, 4), einsum_op=lambda *a, **k: jnp.einsum(*a, **k)),
            "it has an einsum_op of its own",
        ),
        "norm": (nnx.WeightNorm(nnx.Linear(4, 4, rngs=rngs), rngs=rngs), ""),
        "first": (tied, "it shares its bias with second"),
        "second": (other, "it shares its bias with first"),
    }
    model = nnx.Dict({name: layer for name, (layer, _) in layers.items()})
    wanted = {name: reason for name, (_, reason) in layers.items() if reason}
    wanted["norm/layer_instance"] = "nnx.WeightNorm changes its kernel at each call"
    has_parameters = any(isinstance(scale, nnx.Param) for scale in layers["norm"][0].scales.values())
    others = {"norm": "has no matrix on tiles"} if has_parameters else {}  # in older Flax they are plain arrays
    assert nn.plan_conversion(model).left == wanted | others
    with pytest.warns(UserWarning, match="these layers stay digital: ") as caught:
        aj.convert_to_analog(model)
    (warning,) = caught
    assert all(reason in str(warning.message) for reason in wanted.values()) and "\n" not in str(warning.message)


WRONG_EINSUMS: dict[str, tuple[tuple[Any, ...], str]] = {
    "no kernel": (("ab->a", (2,)), "give input, kernel and result"),
    "number": ((3, (2,)), "give input, kernel and result"),
    "digits": (("a1,1c->ac", (2, 3)), "axes are letters or '...', unlike 'a1'"),
    "diagonal": (("aa,ab->ab", (2, 3)), "'aa' has an axis twice"),
    "heads": (("ha,hab->hb", (2, 3, 4)), "the kernel has a matrix for each entry of 'h'"),
    "input alone": (("abc,cd->ad", (2, 3)), "'b' of the input is summed without the kernel"),
    "kernel alone": (("ab,bcd->ac", (2, 3, 4)), "'d' of the kernel is summed without the input"),
    "from nowhere": (("ab,bc->az", (2, 3)), "'z' of the result is neither"),
    "outer": (("a,b->ab", (2,)), "input and kernel have no axis in common"),
    "dots": (("...b,bc->c", (2, 3)), "'...' is of both input and result, or of neither"),
    "kernel dots": (("ab,b...->a...", (2, 3)), "the kernel has no '...'"),
    "shape": (
        ("ab,bc->ac", (2, 3, 4)),
        "kernel_shape=(2, 3, 4) is not allowed: give a whole number of at least 1, or 2",
    ),
    "bias": (("ab,bc->ac", (2, 3), (2,)), "bias_shape=(2,) is not allowed: give (3,), the sizes of ('c',)"),
}


def test_a_wrong_einsum_is_one_line() -> None:
    for arguments, text in WRONG_EINSUMS.values():
        with pytest.raises(ConfigError) as caught:
            nn.AnalogEinsum(*arguments, rngs=nnx.Rngs(0))
        assert text in str(caught.value) and "\n" not in str(caught.value)
    layer = nn.AnalogEinsum("...a,ab->...b", (3, 4), config=exact(), rngs=nnx.Rngs(0))
    assert str(layer) == "AnalogEinsum('...a,ab->...b', (3, 4), bias=False, FloatingPointDevice)"
    with pytest.raises(ShapeError, match=r"x has shape \(2,\), give axes '...a' with a=3"):
        layer(jnp.ones(2), key=KEY)
    with pytest.raises(ConfigError, match=r"einsum_str='ab,bc->ca' is not allowed: the matrix lies on tiles for"):
        layer(jnp.ones((2, 3)), "ab,bc->ca", key=KEY)
    x = inputs(5, 3)
    close(layer(x, "...a, ab -> ...b", key=KEY), x @ layer.get_weights()[0].T)


def test_layers_begin_with_given_weights() -> None:
    matrix, bias = np.arange(6.0).reshape(2, 3) / 10, np.asarray([0.5, -0.5])
    for mapping in ({}, {"digital_bias": False}, {"max_input_size": 2}, {"weight_scaling_omega": 0.5}):
        config = exact(**mapping) if mapping else noisy()
        layer = nn.AnalogLinear(3, 2, config=config, weights=(matrix, bias), rngs=nnx.Rngs(0))
        for had, wanted in zip(layer.get_weights(), (matrix, bias), strict=True):
            np.testing.assert_allclose(had, wanted, rtol=1e-6)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (matrix, ConfigError, "weights of AnalogLinear(3, 2) are not allowed: give a pair of a matrix and a bias"),
        ((matrix, None), ConfigError, "give a pair of a matrix and a bias"),
        ((matrix.T, bias), ShapeError, "AnalogLinear(3, 2): weights has shape (3, 2), give (2, 3)"),
        ((matrix * np.nan, bias), NonFiniteError, "weights has NaN or infinity"),
    ]
    for weights, kind, text in wrong:
        with pytest.raises(kind) as caught:
            nn.AnalogLinear(3, 2, weights=weights, rngs=nnx.Rngs(0))
        assert text in str(caught.value)
    with pytest.raises(ConfigError, match="dtype='int8' is not allowed: give float32, bfloat16, float16"):
        nn.AnalogLinear(3, 2, dtype="int8", rngs=nnx.Rngs(0))
    broken = nnx.Dict(a=nnx.Linear(2, 2, kernel_init=nnx.initializers.constant(jnp.inf), rngs=nnx.Rngs(0)))
    with pytest.raises(NonFiniteError, match=r"^a: AnalogLinear\(2, 2\): weights has NaN"):
        aj.convert_to_analog(broken)


def test_a_converter_of_ones_own_gets_the_layer_with_all_that_is_inside() -> None:
    model = nnx.Dict(part=nnx.Sequential(nnx.Linear(4, 4, rngs=nnx.Rngs(0))), rest=nnx.Linear(4, 4, rngs=nnx.Rngs(1)))
    seen: list[Any] = []

    def by_hand(layer: nnx.Module, config: aj.TileConfig, key: jax.Array) -> nnx.Module:
        seen.append(layer)
        return nn.Identity()

    plan = nn.plan_conversion(model, converters=[nnx.Sequential])
    assert plan.converted == ["part", "rest"] and plan.left == {"part/layers/0": "inside of part"}
    analog: Any = aj.convert_to_analog(model, exact(), converters={nnx.Sequential: by_hand})
    assert isinstance(seen[0].layers[0], nnx.Linear) and isinstance(analog.part, nn.Identity)


def test_mistakes_of_strangers_are_one_line() -> None:
    layer = nnx.Dict(a=nnx.Linear(4, 4, rngs=nnx.Rngs(0)))
    for converters in ([nnx.Linear], {nnx.Linear: 3}, {"Linear": print}):
        with pytest.raises(
            ConfigError, match=r"^converters=.* is not allowed: give functions \(layer, config, key\) by"
        ):
            aj.convert_to_analog(layer, exact(), converters=converters)  # type: ignore[arg-type]
    with pytest.raises(ModuleError, match=r"^model=\[Linear.* is not allowed: give an nnx.Module, such as nnx.Dict"):
        aj.convert_to_analog([layer.a])  # type: ignore[arg-type]
    analog: Any = aj.convert_to_analog(layer, exact())
    with pytest.raises(AttributeError, match="no attribute 'kernel': its tiles have the weights"):
        _ = analog.a.kernel
    recurrent = nn.AnalogRNN(nn.AnalogGRUCell, 3, 4, config=exact(), rngs=nnx.Rngs(0))
    with pytest.raises(ModuleError, match="^cells/0/0 is a AnalogGRUCell, which has no counterpart in Flax"):
        aj.convert_to_digital(recurrent)
