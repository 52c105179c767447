"""Layers in a row: keys, paths in errors, weights by name, text."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn, random
from aihwjax.errors import ModuleError, NonFiniteError, ShapeError
from aihwjax.nn.paths import noise_engine
from aihwjax.random import NoiseEngine
from tests.nn.models import exact, inputs, linear, network, noisy

KEY = jax.random.key(5)


def test_it_is_a_sequence() -> None:
    layers = [linear(exact()), nn.Sigmoid(), nn.Flatten()]
    model = nn.AnalogSequential(*layers)
    assert len(model) == 3
    assert list(model) == layers
    assert model[1] is layers[1]
    assert list(model[:2]) == layers[:2]


def test_members_may_be_digital_modules_and_functions() -> None:
    rngs = nnx.Rngs(0)
    model = nn.AnalogSequential(
        nn.Flatten(), linear(exact()), jnp.tanh, nnx.Linear(3, 2, rngs=rngs), nnx.Dropout(0.5, rngs=rngs), nn.Softmax()
    )
    model.eval()
    x = inputs(5, 2, 2)
    y = jax.nn.softmax(model[3](jnp.tanh(model[1](x.reshape(5, 4), key=KEY))), axis=-1)
    np.testing.assert_allclose(model(x, key=KEY), y, rtol=1e-5)


@pytest.mark.parametrize("member", [3, nn.Sigmoid, "relu", None])
def test_members_that_are_neither_are_refused(member: object) -> None:
    with pytest.raises(ModuleError, match="layer 1 is .*: give a module"):
        nn.AnalogSequential(nn.Flatten(), member)  # type: ignore[arg-type]


def test_a_model_without_analog_layers_needs_no_key() -> None:
    np.testing.assert_allclose(nn.AnalogSequential(nn.Flatten(), nn.ReLU())(-jnp.ones((2, 3))), 0.0)
    assert nn.AnalogSequential()(3.0) == 3.0  # type: ignore[arg-type]


def test_every_layer_has_noise_of_its_own() -> None:
    config = noisy()
    first = linear(config, 3, 3, bias=False)
    model = nn.AnalogSequential(first, first)
    first.set_weights(jnp.zeros((3, 3)), key=KEY)
    x = jnp.ones((4, 3))
    assert not np.allclose(model[:1](x, key=KEY), model(x, key=KEY))


def test_keys_and_streams_give_the_same_noise() -> None:
    model, x = network(noisy()), inputs(3, 4)
    np.testing.assert_allclose(
        model(x, key=KEY), model(x, key=random.stream(KEY, NoiseEngine.COUNTER)), rtol=1e-5, atol=1e-6
    )


def test_the_cheap_engine_serves_a_model_only_if_no_tile_objects() -> None:
    config = noisy()
    assert noise_engine(network(config)) is NoiseEngine.COUNTER
    exacting = linear(config.replace(noise_engine=NoiseEngine.THREEFRY))
    assert noise_engine(nn.AnalogSequential(linear(config), exacting)) is NoiseEngine.THREEFRY


def test_errors_name_the_path_of_the_layer() -> None:
    model = nn.AnalogSequential(nn.Flatten(), nn.AnalogSequential(linear(exact()), nn.Tanh()))
    with pytest.raises(ShapeError, match=r"^layers/1/layers/0: AnalogLinear\(4, 3\): x has shape \(2, 5\)"):
        model(jnp.ones((2, 5)), key=KEY)
    with pytest.raises(ModuleError, match=r"^layers/1/layers/0: AnalogLinear\(4, 3\) needs a key"):
        model(jnp.ones((2, 4)))


def test_errors_of_values_and_of_other_libraries_name_the_layer() -> None:
    inner = nn.AnalogSequential(linear(exact()), nnx.Linear(5, 2, rngs=nnx.Rngs(0)))
    model = nn.AnalogSequential(nn.Tanh(), inner)
    with pytest.raises(NonFiniteError, match=r"^layers/1/layers/0: AnalogLinear\(4, 3\): x has 8 NaN"):
        model(jnp.full((2, 4), jnp.nan), key=KEY)
    with pytest.raises(TypeError) as caught:
        model(jnp.ones((2, 4)), key=KEY)
    notes = [note for note in caught.value.__notes__ if "layers/" in note]
    assert notes == ["layers/1/layers/1: nnx.Linear(in_features=5, out_features=2, use_bias=True) got shape (2, 3)"]


def test_weights_by_path() -> None:
    model, other = network(exact()), network(exact(weight_scaling_omega=0.6, max_input_size=3))
    weights = model.get_weights()
    assert list(weights) == ["layers/0", "layers/2"]
    other.set_weights(weights, key=KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), weights, other.get_weights())
    assert float(jnp.abs(other.get_weights(apply_weight_scaling=False)["layers/0"][0]).max()) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("path", "weights", "error", "message"),
    [
        ("layers/1", jnp.ones((6, 4)), ModuleError, "no analog layer 'layers/1'; did you mean 'layers/"),
        ("layers/0", jnp.ones((6, 5)), ShapeError, r"^layers/0: AnalogLinear\(4, 6\): weights has shape \(6, 5\)"),
        ("layers/0", jnp.full((6, 4), jnp.nan), NonFiniteError, r"^layers/0: AnalogLinear\(4, 6\): weights has NaN"),
    ],
)
def test_weights_that_do_not_fit(path: str, weights: jax.Array, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        network(exact()).set_weights({path: (weights, None)}, key=KEY)


def test_text_has_a_line_for_each_layer() -> None:
    rngs = nnx.Rngs(0)
    model = nn.AnalogSequential(
        nn.Flatten(),
        nn.AnalogSequential(linear(exact()), nn.LeakyReLU(0.2)),
        nnx.Linear(3, 2, rngs=rngs),
        jnp.tanh,
        nn.LogSoftmax(dim=1),
    )
    assert str(model) == repr(model)
    assert str(model).split("\n") == [
        "AnalogSequential(",
        "  (0): Flatten()",
        "  (1): AnalogSequential(",
        "    (0): AnalogLinear(4, 3, bias=True, FloatingPointDevice)",
        "    (1): LeakyReLU(negative_slope=0.2)",
        "  )",
        "  (2): nnx.Linear(in_features=3, out_features=2, use_bias=True)",
        "  (3): Function(tanh)",
        "  (4): LogSoftmax(dim=1)",
        ")",
    ]
