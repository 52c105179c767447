"""x and d of every tile leave the gradient, under every transformation (the slots)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn
from aihwjax.errors import ModuleError
from aihwjax.nn import slots
from tests.nn.models import exact, inputs, linear, network, noisy

KEY = jax.random.key(2)
X = inputs(5, 2, 4)


def call(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return layer(x, key=key)


def plain(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return (call(layer, x, key) ** 2).sum()


def in_a_loop(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return sum((call(layer, each, key) ** 2).sum() for each in x)  # type: ignore[return-value]


def in_scan(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return nn.scan(lambda carry, each: (carry, (call(layer, each, key) ** 2).sum()), 0.0, x)[1].sum()


def in_nested_scans(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    def outer(carry: jax.Array, each: jax.Array) -> tuple[jax.Array, None]:
        return nn.scan(lambda c, row: (c + (call(layer, row, key) ** 2).sum(), None), carry, each)[0], None

    return nn.scan(outer, jnp.zeros(()), x)[0]


def in_jit(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return (jax.jit(lambda x: call(layer, x, key))(x) ** 2).sum()


def in_checkpoint(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return (jax.checkpoint(lambda x: call(layer, x, key))(x) ** 2).sum()


compiled = nnx.jit(call)


def in_a_compiled_function(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return (compiled(layer, x, key) ** 2).sum()


GOOD = [plain, in_a_loop, in_scan, in_nested_scans, in_jit, in_checkpoint, in_a_compiled_function]


@pytest.mark.parametrize("loss", GOOD, ids=lambda f: f.__name__)
@pytest.mark.parametrize("wrap", [lambda f: f, nnx.jit], ids=["eager", "nnx.jit"])
def test_x_and_d_are_those_of_plain_autodiff(loss: Callable[..., jax.Array], wrap: Callable[[Any], Any]) -> None:
    layer = linear(exact())
    compiled(layer, X, KEY)  # a call outside of a gradient must not be mistaken for one inside
    value, gradients = wrap(nn.value_and_grad(loss))(layer, X, KEY)
    weights, bias = layer.get_weights()
    rows = X.reshape(-1, 4)
    d = 2 * (rows @ weights.T + bias)
    assert float(value) == pytest.approx(float((d**2).sum() / 4), rel=1e-5)
    assert list(gradients.analog) == ["tiles/0"]
    np.testing.assert_allclose(gradients.analog["tiles/0"][0], rows)
    np.testing.assert_allclose(gradients.analog["tiles/0"][1], d, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradients.digital["bias"].get_value(), d.sum(0), rtol=1e-5)


def test_calls_of_one_layer_are_joined_in_order() -> None:
    def loss(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
        return call(layer, x[0], key).sum() + 3 * call(layer, x[1, :1], key).sum()

    _, gradients = nn.value_and_grad(loss)(linear(exact()), X, KEY)
    x, d = gradients.analog["tiles/0"]
    np.testing.assert_allclose(x, jnp.concatenate([X[0], X[1, :1]]))
    np.testing.assert_allclose(d, jnp.asarray([[1.0] * 3] * 2 + [[3.0] * 3]))


def test_a_network_gives_the_gradient_of_the_same_digital_network() -> None:
    model = network(exact(max_input_size=3))
    x, target = inputs(7, 4), inputs(7, 3, seed=9)

    def loss(model: nn.AnalogSequential) -> jax.Array:
        return nn.losses.MSELoss()(model(x, key=KEY), target)

    _, gradients = nn.value_and_grad(loss)(model)
    weights = model.get_weights()

    def digital(weights: dict[str, tuple[jax.Array, jax.Array]]) -> jax.Array:
        (w1, b1), (w2, b2) = weights["layers/0"], weights["layers/2"]
        return nn.losses.MSELoss()(jnp.tanh(x @ w1.T + b1) @ w2.T + b2, target)

    expected = jax.grad(digital)(weights)
    for path, (w, b) in expected.items():
        pairs = [pair for where, pair in gradients.analog.items() if where.startswith(f"{path}/tiles/")]
        found = [
            part for x, d in pairs for part in jnp.reshape(jnp.swapaxes(d, -1, -2) @ x, (-1, w.shape[0], x.shape[-1]))
        ]
        found = jnp.concatenate(found, axis=1)
        np.testing.assert_allclose(found, w, rtol=1e-4, atol=1e-6)
        index = int(path.split("/")[1])
        np.testing.assert_allclose(gradients.digital["layers"][index]["bias"].get_value(), b, rtol=1e-4, atol=1e-6)


def test_a_loss_of_the_whole_batch_sees_it_and_gives_its_own_gradient() -> None:
    """The root mean square over a batch: d of a row depends on all rows."""
    seen = []

    def root(p: jax.Array, t: jax.Array) -> jax.Array:
        seen.append((p.shape, t.shape))
        return jnp.sqrt(((p - t) ** 2).mean())

    layer, x, target = linear(exact()), inputs(7, 4), inputs(7, 3, seed=9)
    value, gradients = nn.value_and_grad(lambda model: root(call(model, x, KEY), target))(layer)
    weights, bias = (np.asarray(array) for array in layer.get_weights())
    error = np.asarray(x) @ weights.T + bias - np.asarray(target)
    by_hand = np.sqrt((error**2).mean())
    assert set(seen) == {((7, 3), (7, 3))}
    assert float(value) == pytest.approx(by_hand, rel=1e-5)
    np.testing.assert_allclose(gradients.analog["tiles/0"][1], error / (21 * by_hand), rtol=1e-4, atol=1e-6)


def test_layers_that_are_not_called_have_no_pair_and_shared_layers_have_one() -> None:
    layer = linear(exact(), 4, 4)
    spare = linear(exact(), 4, 4)
    model = nn.AnalogSequential(layer, layer, spare)
    assert list(nn.analog_tiles(model)) == ["layers/0/tiles/0", "layers/2/tiles/0"]

    def loss(model: nn.AnalogSequential) -> jax.Array:
        return model[:2](X[0], key=KEY).sum()

    _, gradients = nn.value_and_grad(loss)(model)
    assert list(gradients.analog) == ["layers/0/tiles/0"]
    assert gradients.analog["layers/0/tiles/0"][0].shape == (4, 4)


def test_a_digital_model_has_digital_gradients_only() -> None:
    model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    _, gradients = nn.value_and_grad(lambda model: model(X).sum())(model)
    assert gradients.analog == {}
    np.testing.assert_allclose(gradients.digital["bias"].get_value(), 10.0)


def test_aux_is_returned_and_checked() -> None:
    layer = linear(exact())

    def with_aux(layer: nn.AnalogLinear) -> tuple[jax.Array, dict[str, jax.Array]]:
        y = call(layer, X, KEY)
        return y.sum(), {"y": y}

    (value, aux), _ = nn.value_and_grad(with_aux, has_aux=True)(layer)
    assert float(value) == pytest.approx(float(aux["y"].sum()), rel=1e-5)
    with pytest.raises(ModuleError, match="returned a tuple, which is not allowed with has_aux=False"):
        nn.value_and_grad(with_aux)(layer)
    with pytest.raises(ModuleError, match="returned one value, which is not allowed with has_aux=True"):
        nn.value_and_grad(plain, has_aux=True)(layer, X, KEY)


def under_vmap(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return jax.vmap(lambda each: call(layer, each, key))(x).sum()


def under_jitted_vmap(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return jax.vmap(jax.jit(lambda each: call(layer, each, key)))(x).sum()


def scan_under_vmap(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return jax.vmap(lambda each: in_scan(layer, each, key))(x).sum()


def in_plain_scan(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda carry, each: (carry, call(layer, each, key).sum()), 0.0, x)[1].sum()


def in_fori_loop(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, 5, lambda i, total: total + call(layer, x[i], key).sum(), 0.0)


BAD = [
    (under_vmap, "tiles/0 is called under vmap inside the loss"),
    (under_jitted_vmap, "tiles/0 is called under vmap inside the loss"),
    (scan_under_vmap, "tiles/0 is called under vmap inside the loss"),
    (in_plain_scan, "tiles/0 is called inside a scan loop.*use aihwjax.nn.scan"),
    (in_fori_loop, "tiles/0 is called inside a scan loop.*use aihwjax.nn.scan"),
    (call, r"the loss has shape \(5, 2, 3\): give one number"),
]


@pytest.mark.parametrize(("loss", "message"), BAD, ids=lambda v: getattr(v, "__name__", ""))
def test_what_would_mix_up_x_and_d_is_refused(loss: Callable[..., jax.Array], message: str) -> None:
    layer = linear(exact())
    with pytest.raises(ModuleError, match=message):
        nn.value_and_grad(loss)(layer, X, KEY)
    assert slots.current() is None
    nn.value_and_grad(plain)(layer, X, KEY)  # nothing is left behind


def test_vmap_over_examples_is_fine_without_a_gradient() -> None:
    layer = linear(exact())
    np.testing.assert_allclose(
        jax.vmap(lambda each: call(layer, each, KEY))(X), call(layer, X, KEY), rtol=1e-5, atol=1e-6
    )


def test_a_model_from_outside_the_loss_is_a_constant() -> None:
    student, teacher = linear(exact()), linear(exact())

    def loss(student: nn.AnalogLinear) -> jax.Array:
        return ((call(student, X, KEY) - 2 * call(teacher, X, KEY)) ** 2).sum()

    _, gradients = nn.value_and_grad(loss)(student)
    assert gradients.analog["tiles/0"][0].shape == (10, 4)


def test_the_model_of_another_gradient_is_refused() -> None:
    layer, other = linear(exact()), linear(exact())

    def inner(other: nn.AnalogLinear, layer: nn.AnalogLinear) -> jax.Array:
        return call(layer, X, KEY).sum() + call(other, X, KEY).sum()

    def outer(layer: nn.AnalogLinear) -> jax.Array:
        return nn.value_and_grad(lambda other: inner(other, layer))(other)[0]

    with pytest.raises(ModuleError, match="tiles/0 belongs to the model of another gradient"):
        nn.value_and_grad(outer)(layer)


def test_vmap_over_networks_is_a_loop_over_networks() -> None:
    config = noisy()
    models = [
        nn.AnalogLinear(4, 3, config=config.replace({"device.dw_min": dw}), rngs=nnx.Rngs(i))
        for i, dw in enumerate((0.001, 0.01))
    ]
    keys = jax.random.split(KEY, 2)
    graph = nnx.graphdef(models[0])

    @jax.jit
    def one(state: nnx.State, key: jax.Array) -> tuple[jax.Array, nn.Gradients]:
        return nn.value_and_grad(plain)(nnx.merge(graph, state, copy=True), X, key)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(nnx.state(model) for model in models))
    together = jax.vmap(one)(stacked, keys)
    for i, model in enumerate(models):
        alone = one(nnx.state(model), keys[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a, b[i], rtol=1e-4, atol=1e-5), alone, together)


def test_state_of_ordinary_layers_moves_and_tiles_do_not() -> None:
    rngs = nnx.Rngs(0)
    model = nn.AnalogSequential(
        nn.AnalogLinear(4, 3, config=exact(), rngs=rngs), nnx.BatchNorm(3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
    )
    before = nnx.state(model, nn.TileVariable)
    nn.value_and_grad(lambda model: (model(X[:, 0], key=KEY) ** 2).sum())(model)
    assert float(jnp.abs(model[1].mean.get_value()).sum()) > 0
    assert int(model[2].rngs.count.get_value()) == 1
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model, nn.TileVariable))


def test_a_gradient_of_a_model_that_nothing_changes_can_be_compiled_without_passing_the_model() -> None:
    layer = linear(exact())
    value, gradients = jax.jit(lambda x: nn.value_and_grad(plain)(layer, x, KEY))(X)
    assert gradients.analog["tiles/0"][0].shape == (10, 4)
    assert float(value) == pytest.approx(float(plain(layer, X, KEY)), rel=1e-5)


def test_changing_a_number_compiles_nothing() -> None:
    traces = []

    def counted(layer: nn.AnalogLinear, x: jax.Array, key: jax.Array) -> jax.Array:
        traces.append(1)
        return plain(layer, x, key)

    step = nnx.jit(nn.value_and_grad(counted))
    layer = linear(noisy())
    step(layer, X, KEY)
    first = len(traces)
    config = layer.analog_tiles()[0].config
    config.set_value(config.get_value().replace({"device.dw_min_std": 0.5, "forward.out_noise": 0.1}))
    value, _ = step(layer, X, KEY)
    assert len(traces) == first
    assert not np.array_equal(value, nn.value_and_grad(plain)(linear(noisy()), X, KEY)[0])


def test_the_backward_product_is_left_out_where_the_input_needs_no_gradient() -> None:
    layer = linear(exact(), 17, 19, bias=False)
    graph, state = nnx.split(layer)
    x = inputs(5, 17)

    def first_layer(state: nnx.State, x: jax.Array) -> jax.Array:
        return nn.value_and_grad(plain)(nnx.merge(graph, state, copy=True), x, KEY)[1].analog["tiles/0"][1]

    def inner_layer(state: nnx.State, x: jax.Array) -> jax.Array:
        return jax.grad(lambda x: plain(nnx.merge(graph, state, copy=True), x, KEY))(x)

    def products(function: Callable[..., jax.Array]) -> int:
        return jax.jit(function).lower(state, x).compile().as_text().count(" dot(")

    assert (products(first_layer), products(inner_layer)) == (1, 2)
