"""The layer over several axes: that of Flax on exact tiles."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn
from aihwjax.errors import ConfigError, ShapeError
from tests.nn.models import exact, inputs

KEY = jax.random.key(3)
LAYERS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "heads": ({"in_features": 6, "out_features": (2, 3)}, (4, 5, 6)),
    "joined": ({"in_features": (2, 3), "out_features": 6, "axis": (-2, -1)}, (4, 2, 3)),
    "other axes": ({"in_features": (4, 3), "out_features": (2, 5), "axis": (-1, 1)}, (6, 4, 7, 3)),
    "no bias": ({"in_features": 4, "out_features": 3, "use_bias": False}, (4,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_exact_tiles_do_what_flax_does(name: str) -> None:
    fields, shape = LAYERS[name]
    layer, digital = (
        nn.AnalogLinearGeneral(**fields, config=exact(), rngs=nnx.Rngs(0)),
        nnx.LinearGeneral(**fields, rngs=nnx.Rngs(0)),
    )
    weights, bias = layer.get_weights()
    digital.kernel.set_value(weights.T.reshape(digital.kernel.get_value().shape))
    if bias is not None:
        assert digital.bias is not None
        digital.bias.set_value(bias.reshape(digital.bias.get_value().shape))
    x = inputs(*shape)
    np.testing.assert_allclose(layer(x, key=KEY), digital(x), rtol=1e-5, atol=1e-5)
    by_x = jax.grad(lambda x: (layer(x, key=KEY) ** 2).sum())(x)
    np.testing.assert_allclose(by_x, jax.grad(lambda x: (digital(x) ** 2).sum())(x), rtol=1e-5, atol=1e-5)
    _, gradients = nn.value_and_grad(lambda m, x: (m(x, key=KEY) ** 2).sum())(layer, x)
    rows, d = gradients.analog["tiles/0"]
    kernel = nnx.grad(lambda m, x: (m(x) ** 2).sum())(digital, x)["kernel"].get_value()
    np.testing.assert_allclose(rows.T @ d, kernel.reshape(layer.columns, layer.rows), rtol=1e-4, atol=1e-4)


def test_mistakes_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"axis=-1 is not allowed: give 2 of them, for in_features=\(2, 3\)"):
        nn.AnalogLinearGeneral((2, 3), 4, rngs=nnx.Rngs(0))
    with pytest.raises(ConfigError, match="out_features=0"):
        nn.AnalogLinearGeneral(3, 0, rngs=nnx.Rngs(0))
    layer = nn.AnalogLinearGeneral((2, 3), 4, axis=(-2, -1), rngs=nnx.Rngs(0))
    for shape in ((3,), (3, 2), (5, 2, 4)):
        with pytest.raises(ShapeError, match=r"x has shape .*, give axes \(-2, -1\) of sizes \(2, 3\)"):
            layer(jnp.ones(shape), key=KEY)
    assert str(layer) == "AnalogLinearGeneral((2, 3), (4,), axis=(-2, -1), use_bias=True, ConstantStepDevice)"
