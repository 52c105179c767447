"""Convolutions: those of Flax on exact tiles, by pulses a linear layer on patches (spec: layers, section 3)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import ConfigError, ModuleError, ShapeError
from aihwjax.tile.config import TileConfig
from tests.marks import exhaustive, some
from tests.nn.models import exact, inputs, noisy

KEY = jax.random.key(3)
IN, OUT = 4, 6

CONVS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "one axis": ((9,), {"kernel_size": (3,)}),
    "one axis, number": ((9,), {"kernel_size": 3, "strides": 2}),
    "causal": ((9,), {"kernel_size": (3,), "padding": "CAUSAL", "kernel_dilation": 2}),
    "two axes": ((7, 8), {"kernel_size": (3, 2)}),
    "points": ((7, 8), {"kernel_size": (1, 1)}),
    "points, strides": ((7, 8), {"kernel_size": (1, 1), "strides": 2}),
    "valid": ((7, 8), {"kernel_size": (3, 2), "padding": "VALID", "strides": (2, 1)}),
    "lower": ((7, 8), {"kernel_size": (4, 2), "padding": "SAME_LOWER", "strides": 2}),
    "circular": ((7, 8), {"kernel_size": (3, 4), "padding": "CIRCULAR"}),
    "circular, strides": ((7, 8), {"kernel_size": (3, 4), "padding": "CIRCULAR", "strides": 2, "kernel_dilation": 2}),
    "reflected": ((7, 8), {"kernel_size": (3, 4), "padding": "REFLECT"}),
    "a number": ((7, 8), {"kernel_size": (3, 3), "padding": 2}),
    "numbers": ((7, 8), {"kernel_size": (3, 3), "padding": (2, 0)}),
    "pairs": ((7, 8), {"kernel_size": (3, 3), "padding": ((2, 0), (0, 3))}),
    "dilation": ((9, 8), {"kernel_size": (3, 2), "kernel_dilation": (2, 3), "strides": (1, 2)}),
    "groups": ((7, 8), {"kernel_size": (3, 3), "feature_group_count": 2}),
    "depthwise": ((7, 8), {"kernel_size": (2, 3), "feature_group_count": 4, "out_features": 8}),
    "no bias": ((7, 8), {"kernel_size": (3, 3), "use_bias": False}),
    "three axes": ((4, 5, 6), {"kernel_size": (2, 3, 2), "strides": (1, 2, 2)}),
    "many elements": ((5, 6, 7), {"kernel_size": (5, 5, 3), "padding": "VALID", "kernel_dilation": (1, 1, 2)}),
}
THEN = ("causal", "lower", "reflected", "pairs", "dilation", "depthwise", "three axes")
TRANSPOSED: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "one axis": ((5,), {"kernel_size": (3,), "strides": 2}),
    "two axes": ((5, 4), {"kernel_size": (3, 2)}),
    "strides": ((5, 4), {"kernel_size": (3, 2), "strides": (2, 3)}),
    "wide strides": ((5, 4), {"kernel_size": (2, 2), "strides": 4, "padding": "VALID"}),
    "valid": ((5, 4), {"kernel_size": (3, 4), "strides": (2, 1), "padding": "VALID"}),
    "circular": ((5, 4), {"kernel_size": (3, 4), "strides": 2, "padding": "CIRCULAR"}),
    "numbers": ((5, 4), {"kernel_size": (3, 3), "strides": 2, "padding": (1, 2)}),
    "pairs, dilation": ((5, 4), {"kernel_size": (3, 2), "padding": ((2, 1), (0, 1)), "kernel_dilation": 2}),
    "no bias": ((5, 4), {"kernel_size": (3, 3), "use_bias": False}),
    "three axes": ((3, 4, 2), {"kernel_size": (2, 2, 3), "strides": 2}),
}
LAYOUTS = {
    "one tile": exact(),
    "analog bias": exact(digital_bias=False),
    "split both ways": exact(max_input_size=10, max_output_size=2),
    "scaled": exact(weight_scaling_omega=0.6, weight_scaling_columnwise=True),
    "learned scale": exact(learn_out_scaling=True),
}


def pair(kind: str, fields: dict[str, Any], config: TileConfig) -> tuple[Any, nnx.Module]:
    """Return an analog layer and Flax's with its weights."""
    fields = {"in_features": IN, "out_features": OUT, **fields}
    layer = getattr(nn, f"Analog{kind}")(**fields, config=config, rngs=nnx.Rngs(0))
    layer.set_weights(*drawn(layer), key=KEY)
    digital = getattr(nnx, kind)(**fields, rngs=nnx.Rngs(0))
    weights, bias = layer.get_weights()
    sizes = layer.kernel_size
    kernel = jnp.moveaxis(weights.reshape(weights.shape[0], -1, *sizes), (0, 1), (-1, -2))
    digital.kernel.set_value(kernel)
    if bias is not None:
        digital.bias.set_value(bias)
    return layer, digital


def drawn(layer: Any) -> tuple[jax.Array, jax.Array | None]:
    """Return weights and a bias of the layer's shape."""
    weights, bias = layer.get_weights()
    return 0.3 * inputs(*weights.shape, seed=5), None if bias is None else inputs(*bias.shape, seed=6)


def agree(layer: Any, digital: Any, x: jax.Array) -> None:
    """Check outputs, and gradients of inputs, biases and weights."""
    y, expected = layer(x, key=KEY), digital(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    target = inputs(*y.shape, seed=9)
    _, gradients = nn.value_and_grad(lambda m, x: (m(x, key=KEY) * target).sum())(layer, x)
    by_x = jax.grad(lambda x: (layer(x, key=KEY) * target).sum())(x)
    want, want_x = nnx.grad(lambda m, x: (m(x) * target).sum(), argnums=(0, 1))(digital, x)
    np.testing.assert_allclose(by_x, want_x, rtol=1e-5, atol=1e-5)
    if layer.bias is not None:
        bias, expected = gradients.digital["bias"].get_value(), want["bias"].get_value()
        np.testing.assert_allclose(bias, expected, rtol=1e-5, atol=1e-4)
    ((seen, d),) = gradients.analog.values()  # one tile for each group, in a stack
    matrix = jnp.swapaxes(d, -1, -2) @ nn.patches.all_rows(seen)
    flat = jnp.moveaxis(want["kernel"].get_value(), (-1, -2), (0, 1)).reshape(matrix.shape)
    np.testing.assert_allclose(matrix, flat, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", some(CONVS, ("circular", "groups", "many elements"), THEN))
def test_exact_tiles_convolve_as_flax_does(name: str) -> None:
    space, fields = CONVS[name]
    agree(*pair("Conv", fields, exact()), inputs(3, *space, IN, seed=7))


@pytest.mark.parametrize("name", some(TRANSPOSED, ("circular",), ("wide strides", "pairs, dilation", "three axes")))
def test_exact_tiles_convolve_transposed_as_flax_does(name: str) -> None:
    space, fields = TRANSPOSED[name]
    agree(*pair("ConvTranspose", fields, exact()), inputs(3, *space, IN, seed=7))


@pytest.mark.parametrize("name", some(LAYOUTS, ("analog bias", "split both ways"), ("learned scale",)))
@pytest.mark.parametrize("groups", [exhaustive(1), 2])
def test_every_layout_of_the_matrix(name: str, groups: int) -> None:
    fields = {"kernel_size": (3, 2), "strides": 2, "feature_group_count": groups}
    layer, digital = pair("Conv", fields, LAYOUTS[name])
    weights, bias = drawn(layer)
    np.testing.assert_allclose(layer.get_weights()[0], weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.get_weights()[1], bias, rtol=1e-5, atol=1e-6)
    x = inputs(2, 5, 6, IN)
    np.testing.assert_allclose(layer(x, key=KEY), digital(x), rtol=1e-5, atol=1e-5)
    tiles = sum(tile.count or 1 for tile in layer.tiles)
    assert tiles == groups * len(layer.in_parts) * len(layer.out_parts)


def test_any_number_of_batch_axes() -> None:
    layer, digital = pair("Conv", {"kernel_size": (3, 3)}, exact())
    for shape in ((5, 6, IN), (2, 5, 6, IN), (2, 3, 5, 6, IN), (0, 5, 6, IN)):
        x = inputs(*shape)
        assert layer(x, key=KEY).shape == digital(x).shape
        np.testing.assert_allclose(layer(x, key=KEY), digital(x), rtol=1e-5, atol=1e-5)


def test_one_number_is_a_kernel_for_all_axes_where_their_number_is_fixed() -> None:
    for axes, kind in enumerate((nn.AnalogConv1d, nn.AnalogConv2d, nn.AnalogConv3d), 1):
        layer = kind(2, 3, 3, rngs=nnx.Rngs(0))
        assert layer.kernel_size == (3,) * axes
        assert layer(jnp.ones((2, *(4,) * axes, 2)), key=KEY).shape == (2, *(4,) * axes, 3)
        with pytest.raises(ConfigError, match="kernel_size"):
            kind(2, 3, (3,) * (axes + 1), rngs=nnx.Rngs(0))


UPDATES: dict[str, tuple[Any, int]] = {
    "pulsed": (noisy(), 2**28),
    "compound": (aj.presets.TikiTakaReRamSBPreset(), 1),  # an image at a time, but for a compound's update
    "chopped": (aj.presets.ChoppedTTv2ReRamSBPreset(), 1),
    "mixed precision": (aj.presets.MixedPrecisionReRamSBPreset(), 1),
    "inference": (aj.InferenceRPUConfig(), 2**28),
}


@pytest.mark.parametrize("name", some(UPDATES, ("pulsed", "inference"), ("compound",)))
def test_an_update_is_that_of_a_linear_layer_on_the_patches(name: str) -> None:
    config, memory = UPDATES[name]
    conv = nn.AnalogConv(2, 3, (2, 2), padding="VALID", config=config, patch_memory=memory, rngs=nnx.Rngs(0))
    x = inputs(4, 5, 6, 2)

    def loss(model: nnx.Module, x: jax.Array, key: jax.Array) -> jax.Array:
        return (model(x, key=key) ** 2).mean()

    _, gradients = nn.value_and_grad(loss)(conv, x, KEY)
    seen, d = gradients.analog["tiles/0"]
    assert isinstance(seen, nn.Patches)
    np.testing.assert_array_equal(seen.images, x)  # no patches are kept
    rows = seen.rows()
    assert rows.shape == (4 * 4 * 5, 8) and d.shape == (4 * 4 * 5, 3)
    corner = x[0, :2, :2, :]  # the patch of the first place, by channel
    np.testing.assert_array_equal(rows[0], jnp.moveaxis(corner, -1, 0).reshape(-1))
    tile = conv.tiles[0]
    alone = aj.tile.update(config, tile.state.get_value(), rows, d, 0.1, KEY)
    tile.update(seen, d, 0.1, KEY)
    np.testing.assert_allclose(tile.state.get_value().weights, alone.weights, atol=1e-6)


def test_a_network_of_convolutions_learns_and_replays() -> None:
    rngs = nnx.Rngs(0)
    model = nn.AnalogSequential(
        nn.AnalogConv2d(1, 4, 3, strides=2, config=noisy(), rngs=rngs),
        nn.Tanh(),
        nn.Flatten(),
        nn.AnalogLinear(4 * 9, 2, config=noisy(), rngs=rngs),
        nn.LogSoftmax(),
    )
    x = jnp.stack([jnp.eye(6), jnp.eye(6)[::-1]] * 8)[..., None]
    y = jnp.arange(16) % 2
    splits = aj.data.from_arrays(x, y, x, y)
    experiment = aj.BasicTraining(splits, model, batch_size=4, epochs=3, learning_rate=0.5)
    first, again = (aj.run_local(experiment, key=1, progress=False) for _ in range(2))
    assert first[-1]["accuracy"] == 1.0
    assert [m["train_loss"] for m in first] == [m["train_loss"] for m in again]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "kernel": ({"kernel_size": (3, 0)}, "kernel_size=(3, 0) is not allowed"),
    "strides": ({"strides": (1, 2, 3)}, "strides=(1, 2, 3) is not allowed: give a whole number of at least 1, or 2"),
    "dilation": ({"kernel_dilation": 1.5}, "kernel_dilation=1.5"),
    "word": ({"padding": "SAMEE"}, "padding='SAMEE' is not known"),
    "causal": ({"padding": "CAUSAL"}, "padding='CAUSAL' is not allowed with 2 spatial axes"),
    "pairs": ({"padding": ((1, 2),)}, "or 2 pairs of them"),
    "negative": ({"padding": -1}, "padding=-1"),
    "groups": ({"feature_group_count": 3}, "feature_group_count=3 does not divide in_features=4"),
    "out groups": ({"feature_group_count": 4}, "feature_group_count=4 does not divide out_features=6"),
    "channels": ({"in_features": 0}, "in_features=0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_one_line(name: str) -> None:
    fields, text = WRONG[name]
    fields = {"in_features": IN, "out_features": OUT, "kernel_size": (3, 3), **fields}
    with pytest.raises(ConfigError) as caught:
        nn.AnalogConv(**fields, rngs=nnx.Rngs(0))
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_image_is_one_line() -> None:
    layer = nn.AnalogConv(IN, OUT, (3, 3), padding="VALID", rngs=nnx.Rngs(0))
    with pytest.raises(ModuleError, match="needs a key"):
        layer(jnp.ones((5, 6, IN)))
    with pytest.raises(ShapeError, match=r"AnalogConv\(4, 6\): x has shape \(5, 6, 3\), give \(\.\.\., 4\)"):
        layer(jnp.ones((5, 6, 3)), key=KEY)
    with pytest.raises(ShapeError, match=r"x has shape \(6, 4\), give \(\.\.\., size, size, 4\)"):
        layer(jnp.ones((6, IN)), key=KEY)
    with pytest.raises(ShapeError, match=r"AnalogConv\(4, 6\): a kernel that covers \(3, 3\) does not fit on \(2, 6\)"):
        layer(jnp.ones((2, 6, IN)), key=KEY)
    reflected = nn.AnalogConv(IN, OUT, (7, 7), padding="REFLECT", rngs=nnx.Rngs(0))
    with pytest.raises(ShapeError, match="padding='REFLECT' needs more than 3 lines"):
        reflected(jnp.ones((3, 6, IN)), key=KEY)


def test_a_layer_says_what_it_is() -> None:
    layer = nn.AnalogConv(2, 4, (3, 3), strides=2, padding="VALID", feature_group_count=2, rngs=nnx.Rngs(0))
    assert str(layer) == (
        "AnalogConv(2, 4, kernel_size=(3, 3), strides=(2, 2), padding='VALID', feature_group_count=2, use_bias=True, "
        "ConstantStepDevice, 2 groups of 1x1 tiles of up to 9x2)"
    )


SEEN = {"kernel_size": (3, 2), "strides": (1, 2), "in_features": 2, "out_features": 4}


def in_turn(images: int, groups: int, config: Any) -> Any:
    """Return a layer with memory for the patches of so many images of 5 x 6 at a time."""
    memory = images * 5 * 3 * 2 * 6 * 4
    fields = {**SEEN, "feature_group_count": groups, "config": config, "patch_memory": memory}
    layer = nn.AnalogConv(**fields, rngs=nnx.Rngs(0))
    assert nn.Patches(jnp.ones((6, 5, 6, 2)), layer.views()[0]).parts == 6 // images
    return layer


@pytest.mark.parametrize("groups", [exhaustive(1), 2])
def test_images_in_turn_are_what_they_are_at_once(groups: int) -> None:
    """Exact tiles with an input range: outputs, gradients of images, range and bias, and the exact update."""
    config = aj.InferenceRPUConfig(mapping=aj.MappingParameter(max_input_size=4)).replace(
        {"forward.is_perfect": True, "backward.is_perfect": True, "pre_post.input_range.enable": True}
    )
    x, found = inputs(6, 5, 6, 2), []
    for images in (6, 2):
        layer = in_turn(images, groups, config)
        y, pull = jax.vjp(lambda x, layer=layer: layer(x, key=KEY), x)
        (back,) = pull(jnp.cos(y))
        loss, gradients = nn.value_and_grad(lambda model, x: jnp.sin(model(x, key=KEY)).sum())(layer, x)
        optimizer = aj.analog_sgd(0.1)
        optimizer.update(layer, gradients, optimizer.init(layer), KEY)
        found.append((y, back, loss, nnx.to_pure_dict(gradients.digital), layer.get_weights()))
    for once, turned in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(turned, once, rtol=1e-4, atol=1e-4)


def test_images_in_turn_move_pulsed_weights_as_at_once() -> None:
    """Parts have noise of their own; mean and spread of the change are those of one update."""
    config = aj.SingleRPUConfig(device=aj.ConstantStepDevice(dw_min=0.0005, dw_min_dtod=0, up_down_dtod=0))
    x, spreads, count = inputs(6, 5, 6, 2), [], 64
    for images in (6, 2):
        layer = in_turn(images, 1, config)
        start = layer.get_weights()[0]
        _, gradients = nn.value_and_grad(lambda model, x: (model(x, key=KEY) ** 2).mean())(layer, x)
        ((seen, d),) = gradients.analog.values()
        graph, state = nnx.split(layer)

        def change(key: jax.Array) -> jax.Array:
            copy = nnx.merge(graph, state, copy=True)  # noqa: B023 the loop runs it at once
            copy.tiles[0].update(seen, d, 0.1, key)  # noqa: B023
            return copy.get_weights()[0] - start  # noqa: B023

        changes = jax.jit(jax.vmap(change))(jax.random.split(KEY, count))
        spread = changes.std(axis=0)
        error = (changes.mean(axis=0) + 0.1 * d.T @ seen.rows()) / (spread / np.sqrt(count))
        assert float(jnp.abs(error).max()) < 4.5 and 0.8 < float((error**2).mean()) ** 0.5 < 1.3
        spreads.append(spread)
    ratio = float(jnp.sqrt((spreads[0] ** 2).sum() / (spreads[1] ** 2).sum()))
    assert ratio == pytest.approx(1.0, abs=4 / np.sqrt(2 * 48 * count))


def test_calls_with_images_of_several_sizes_meet_in_one_update() -> None:
    layer = nn.AnalogConv(2, 3, (2, 2), padding="VALID", config=noisy(), rngs=nnx.Rngs(0))

    def loss(model: Any, key: jax.Array) -> jax.Array:
        return model(inputs(2, 4, 4, 2), key=key).sum() + model(inputs(2, 3, 3, 2), key=key).sum()

    _, gradients = nn.value_and_grad(loss)(layer, KEY)
    rows, d = gradients.analog["tiles/0"]
    assert rows.shape == (2 * 9 + 2 * 4, 8) and d.shape == (26, 3)
