"""Recurrent layers: on exact tiles those of the equations, in both directions, with lengths, and trained by pulses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.nnx.nn.recurrent import flip_sequences

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import ConfigError, ModuleError, ShapeError
from aihwjax.nn.recurrent import RecurrentCell
from aihwjax.nn.recurrent.cells import CELLS
from tests.marks import slow, some
from tests.nn.models import exact, inputs, noisy

KEY = jax.random.key(3)
BATCH, TIME, IN, HIDDEN = 3, 5, 4, 6
X = inputs(BATCH, TIME, IN)
LENGTHS = jnp.array([5, 2, 3])


def parameters(cell: RecurrentCell) -> dict[str, Any]:
    """Return the matrices and biases of a cell."""
    layers = {"hidden": cell.hidden_layer, "input": cell.input_layer}
    return {name: layer.get_weights() for name, layer in layers.items() if layer is not None}


def digital(name: str, weights: dict[str, Any], x: jax.Array, carry: Any) -> tuple[Any, jax.Array]:
    """Return the carry after a step and its output, by the equations."""

    def times(which: str, values: jax.Array) -> jax.Array:
        matrix, bias = weights[which]
        return values @ matrix.T + (0 if bias is None else bias)

    if name == "AnalogVanillaRNNCell":
        h = jnp.tanh(times("input", x) + times("hidden", carry))
        return h, h
    if name == "AnalogGRUCell":
        (a, b, c), (d, e, f) = (jnp.split(times(*pair), 3, -1) for pair in (("input", x), ("hidden", carry)))
        new = jnp.tanh(c + jax.nn.sigmoid(a + d) * f)
        h = new + jax.nn.sigmoid(b + e) * (carry - new)
        return h, h
    c, h = carry
    joined = name == "AnalogLSTMCellCombinedWeight"
    sums = times("hidden", jnp.concatenate([x, h], -1)) if joined else times("input", x) + times("hidden", h)
    i, f, g, o = jnp.split(sums, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return (c, jax.nn.sigmoid(o) * jnp.tanh(c)), jax.nn.sigmoid(o) * jnp.tanh(c)


def over_time(name: str, weights: dict[str, Any], x: jax.Array, carry: Any) -> tuple[list[Any], jax.Array]:
    """Return the carries after each step and the outputs ``(batch, time, hidden)``."""
    carries, outputs = [], []
    for t in range(x.shape[1]):
        carry, y = digital(name, weights, x[:, t], carry)
        carries.append(carry)
        outputs.append(y)
    return carries, jnp.stack(outputs, axis=1)


def zero(name: str) -> Any:
    """Return the first carry."""
    zeros = jnp.zeros((BATCH, HIDDEN))
    return (zeros, zeros) if "LSTM" in name else zeros


@pytest.mark.parametrize("bias", [True, slow(False)])
@pytest.mark.parametrize("name", some(CELLS, ("AnalogLSTMCell", "AnalogGRUCell")))
def test_exact_tiles_follow_the_equations(name: str, bias: bool) -> None:
    layer = nn.AnalogRNN(CELLS[name], IN, HIDDEN, use_bias=bias, config=exact(), rngs=nnx.Rngs(0))
    weights = parameters(layer.cells[0][0])
    carry, y = layer(X, key=KEY, return_carry=True)
    carries, expected = over_time(name, weights, X, zero(name))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), carry[0], carries[-1])
    assert layer(X, key=KEY).shape == (BATCH, TIME, HIDDEN)

    target = inputs(BATCH, TIME, HIDDEN, seed=9)
    _, gradients = nn.value_and_grad(lambda m, x: (m(x, key=KEY) * target).sum())(layer, X)
    slopes, by_x = jax.grad(lambda w, x: (over_time(name, w, x, zero(name))[1] * target).sum(), (0, 1))(weights, X)
    for which, (matrix, slope) in slopes.items():
        rows, d = gradients.analog[f"cells/0/0/{which}_layer/tiles/0"]
        assert rows.shape[0] == BATCH * TIME
        np.testing.assert_allclose(d.T @ rows, matrix, rtol=1e-5, atol=1e-5)
        if bias:
            found = gradients.digital["cells"][0][0][f"{which}_layer"]["bias"].get_value()
            np.testing.assert_allclose(found, slope, rtol=1e-5, atol=1e-5)
    given = jax.grad(lambda x: (layer(x, key=KEY) * target).sum())(X)
    np.testing.assert_allclose(given, by_x, rtol=1e-5, atol=1e-5)


def test_vectors_reach_the_update_in_the_order_of_time() -> None:
    layer = nn.AnalogRNN("AnalogVanillaRNNCell", IN, HIDDEN, config=exact(), rngs=nnx.Rngs(0))
    _, gradients = nn.value_and_grad(lambda m, x: m(x, key=KEY).sum())(layer, X)
    rows = gradients.analog["cells/0/0/input_layer/tiles/0"][0]
    np.testing.assert_array_equal(rows, jnp.swapaxes(X, 0, 1).reshape(-1, IN))
    hidden = gradients.analog["cells/0/0/hidden_layer/tiles/0"][0]
    np.testing.assert_array_equal(hidden[:BATCH], 0)
    np.testing.assert_allclose(hidden[BATCH : 2 * BATCH], layer(X, key=KEY)[:, 0], rtol=1e-5, atol=1e-6)


def test_lengths_directions_layers_and_given_carries() -> None:
    name = "AnalogLSTMCell"
    layer = nn.AnalogRNN(
        name, IN, HIDDEN, num_layers=2, bidirectional=True, return_carry=True, config=exact(), rngs=nnx.Rngs(0)
    )
    first = jax.tree.map(lambda a: a + 0.1, zero(name))
    carry, y = layer(X, key=KEY, seq_lengths=LENGTHS, initial_carry=[(first, first)] * 2)
    x, valid = X, (jnp.arange(TIME) < LENGTHS[:, None])[..., None]
    for number, cells in enumerate(layer.cells):
        outputs = []
        for way, cell in enumerate(cells):
            seen = flip_sequences(x, LENGTHS, 1, False) if way else x
            carries, out = over_time(name, parameters(cell), seen, first)
            last = jax.tree.map(lambda *each: jnp.stack(each)[LENGTHS - 1, jnp.arange(BATCH)], *carries)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), carry[number][way], last)
            outputs.append(flip_sequences(out, LENGTHS, 1, False) if way else out)
        x = jnp.concatenate(outputs, -1)
    np.testing.assert_allclose(jnp.where(valid, y, 0), jnp.where(valid, x, 0), atol=1e-5)


def test_a_sequence_without_steps_has_the_carry_it_began_with() -> None:
    layer = nn.AnalogRNN("AnalogGRUCell", IN, HIDDEN, return_carry=True, config=exact(), rngs=nnx.Rngs(0))
    first = 0.3 * jnp.ones((BATCH, HIDDEN))
    carry, _ = layer(X, key=KEY, seq_lengths=jnp.array([0, TIME, 1]), initial_carry=[first])
    np.testing.assert_array_equal(carry[0][0], first[0])
    assert (np.asarray(carry[0][1:]) != first[1:]).all()
    for wrong in ([0, 1, TIME + 1], [-1, 1, 2], [0.5, 1.0, 2.0]):
        with pytest.raises(aj.errors.DataError, match=f"seq_lengths=.*: give whole numbers from 0 to {TIME}"):
            layer(X, key=KEY, seq_lengths=jnp.array(wrong))


def test_time_may_be_first_and_flax_may_run_the_cells() -> None:
    layer = nn.AnalogRNN("AnalogGRUCell", IN, HIDDEN, config=exact(), rngs=nnx.Rngs(0))
    y = layer(X, key=KEY)
    by_time = layer(jnp.swapaxes(X, 0, 1), key=KEY, time_major=True)
    np.testing.assert_allclose(jnp.swapaxes(by_time, 0, 1), y, rtol=1e-6, atol=1e-6)

    class Run(nnx.Module):
        def __init__(self) -> None:
            self.rnn = nnx.RNN(layer.cells[0][0])

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.rnn(x)

    np.testing.assert_allclose(nn.call(Run(), X, key=KEY), y, rtol=1e-5, atol=1e-5)


def test_noise_differs_from_step_to_step_and_replays() -> None:
    layer = nn.AnalogRNN("AnalogVanillaRNNCell", IN, HIDDEN, config=noisy(), rngs=nnx.Rngs(0))
    x = jnp.zeros((1, 40, IN))
    y = layer(x, key=KEY)
    np.testing.assert_array_equal(y, layer(x, key=KEY))
    assert len(np.unique(np.asarray(y[0, :, 0]))) > 30
    for called in (layer(x, key=4), nn.call(layer, x, key=KEY)):
        assert (np.asarray(called) != y).mean() > 0.8
    np.testing.assert_array_equal(nn.call(layer, x, key=KEY), nn.call(layer, x, key=KEY))


def test_dropout_is_between_layers_and_only_while_training() -> None:
    layer = nn.AnalogRNN("AnalogGRUCell", IN, HIDDEN, num_layers=2, dropout=0.5, config=exact(), rngs=nnx.Rngs(0))
    assert (np.asarray(layer(X, key=KEY)) != layer(X, key=KEY)).mean() > 0.8
    layer.eval()
    np.testing.assert_array_equal(layer(X, key=KEY), layer(X, key=KEY))
    assert nn.AnalogRNN("AnalogGRUCell", IN, HIDDEN, dropout=0.5, config=exact(), rngs=nnx.Rngs(0)).drop is None


@pytest.mark.slow
@pytest.mark.parametrize("config", [aj.SingleRPUConfig(), aj.InferenceRPUConfig()], ids=["pulsed", "inference"])
def test_a_recurrent_network_learns_to_remember(config: aj.TileConfig) -> None:
    rngs = nnx.Rngs(1)

    class Recall(nnx.Module):
        """Say whether the first number of a sequence was positive."""

        def __init__(self) -> None:
            self.rnn = nn.AnalogRNN("AnalogLSTMCell", 1, 16, config=config, rngs=rngs)
            self.head = nn.AnalogLinear(16, 2, config=config, rngs=rngs)

        def __call__(self, x: jax.Array, *, key: jax.Array) -> jax.Array:
            first, second = jax.random.split(key)
            return self.head(self.rnn(x, key=first)[:, -1], key=second)

    def loss(model: nnx.Module, x: jax.Array, key: jax.Array) -> jax.Array:
        return nn.losses.cross_entropy_loss(model(x, key=key), (x[:, 0, 0] > 0).astype(int)).mean()  # type: ignore[operator]

    model, optimizer = Recall(), aj.analog_sgd(0.5)
    parts = aj.optim.take_apart(model)
    step = aj.optim.training_step(loss, optimizer, parts)

    @jax.jit
    def run(moving: Any, state: Any) -> tuple[Any, jax.Array]:
        def body(carry: Any, number: jax.Array) -> tuple[Any, jax.Array]:
            key = jax.random.fold_in(KEY, number)
            x = jax.random.normal(jax.random.fold_in(key, 1), (16, 6, 1))
            moving, state, value = step(*carry, parts.fixed, key, x)
            return (moving, state), value

        return jax.lax.scan(body, (moving, state), jnp.arange(800))

    _, losses = run(parts.moving, optimizer.init(model))
    assert losses[-200:].mean() < 0.45 < 0.6 < losses[:20].mean()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "cell": ({"cell": "AnalogLSTM"}, "cell='AnalogLSTM' is not allowed: give a class of cells, or one of Analog"),
    "class": ({"cell": nn.AnalogLinear}, "is not allowed: give a class of cells"),
    "size": ({"hidden_features": 0}, "hidden_features=0 is not allowed"),
    "layers": ({"num_layers": 0}, "num_layers=0 is not allowed"),
    "dropout": ({"dropout": 1.5}, "dropout=1.5 is not allowed: give a number from 0 to 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_one_line(name: str) -> None:
    fields, text = WRONG[name]
    fields = {"cell": "AnalogLSTMCell", "in_features": IN, "hidden_features": HIDDEN, **fields}
    with pytest.raises(ConfigError) as caught:
        nn.AnalogRNN(**fields, rngs=nnx.Rngs(0))
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_call_is_one_line() -> None:
    layer = nn.AnalogRNN("AnalogLSTMCell", IN, HIDDEN, rngs=nnx.Rngs(0))
    with pytest.raises(ModuleError, match="needs a key"):
        layer(X)
    with pytest.raises(ShapeError, match=r"AnalogRNN\(AnalogLSTMCell, 4, 6\): x has shape .* give \(batch, time, 4\)"):
        layer(X[0], key=KEY)
    with pytest.raises(ShapeError, match=r"seq_lengths has shape \(2,\), give \(3,\)"):
        layer(X, key=KEY, seq_lengths=jnp.ones(2, int))
    with pytest.raises(ConfigError, match="initial_carry has 2 entries, give 1"):
        layer(X, key=KEY, initial_carry=[None, None])
    assert str(layer) == "AnalogRNN(AnalogLSTMCell, 4, 6, use_bias=True, ConstantStepDevice)"
