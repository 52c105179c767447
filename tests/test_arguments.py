"""Plausible mistakes in the arguments of the public functions get one line each; keys are the same everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import config as configs
from aihwjax import plot, random
from aihwjax.cloud.keys import key_entry
from tests.experiments import small

CONFIG = aj.SingleRPUConfig(
    device=aj.ConstantStepDevice(lifetime=10.0, diffusion=0.1, reset_std=0.1, drift=aj.SimpleDriftParameter(nu=0.1))
)
AWARE = aj.InferenceRPUConfig(modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1))
KEY = jax.random.key(7)
STATE = aj.tile.init(CONFIG, KEY, (3, 4))
AWARE_STATE = aj.tile.init(AWARE, KEY, (3, 4))
X, D, W = np.ones((2, 4), np.float32), np.full((2, 3), 0.1, np.float32), np.full((3, 4), 0.1, np.float32)


def layer() -> aj.nn.AnalogLinear:
    return aj.nn.AnalogLinear(4, 3, config=CONFIG, rngs=nnx.Rngs(0))


def model() -> aj.nn.AnalogSequential:
    return aj.nn.AnalogSequential(layer(), aj.nn.Tanh())


def changed(module: Any, change: Callable[[Any], object]) -> Any:
    """Return the numbers of a module after a change of it."""
    change(module)
    return nnx.to_pure_dict(nnx.state(module, aj.nn.TileVariable))


RANGED = CONFIG.replace({"pre_post.input_range.enable": True})


def stepped(key: Any) -> Any:
    module = model()
    optimizer = aj.analog_sgd(0.1)
    _, gradients = aj.nn.value_and_grad(lambda m: (m(X, key=KEY) ** 2).sum())(module)
    optimizer.update(module, gradients, optimizer.init(module), key)
    return module.get_weights()


def chips() -> aj.BasicInferencing:
    """Return an inference experiment of one chip at one time."""
    config = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True), drift_compensation=None)
    network = aj.nn.AnalogSequential(aj.nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0)))
    return aj.BasicInferencing((X, np.zeros(len(X), int)), network, inference_repeats=1, times=[1.0])


KEYED: dict[str, Callable[[Any], Any]] = {
    "tile.init": lambda key: aj.tile.init(CONFIG, key, (3, 4)),
    "tile.forward": lambda key: aj.tile.forward(CONFIG, STATE, X, key),
    "tile.forward_with_mask": lambda key: aj.tile.forward_with_mask(CONFIG, STATE, X, key)[0],
    "tile.backward": lambda key: aj.tile.backward(CONFIG, STATE, D, key),
    "tile.update": lambda key: aj.tile.update(CONFIG, STATE, X, D, 0.1, key),
    "tile.set_weights": lambda key: aj.tile.set_weights(CONFIG, STATE, W, key),
    "tile.decay": lambda key: aj.tile.decay(CONFIG, STATE, 1.0, key),
    "tile.diffuse": lambda key: aj.tile.diffuse(CONFIG, STATE, key),
    "tile.drift": lambda key: aj.tile.drift(CONFIG, STATE, 2.0, key),
    "tile.reset": lambda key: aj.tile.reset(CONFIG, STATE, key=key),
    "tile.clip": lambda key: aj.tile.clip(CONFIG, STATE, key, 0.05),
    "tile.remap": lambda key: aj.tile.remap(CONFIG, STATE, key),
    "tile.modify": lambda key: aj.tile.modify(AWARE, AWARE_STATE, key),
    "tile.end_of_batch": lambda key: aj.tile.end_of_batch(CONFIG, STATE, key),
    "tile.redraw": lambda key: aj.tile.redraw(CONFIG, STATE, key),
    "tile.get_weights": lambda key: aj.tile.get_weights(CONFIG, STATE, realistic=True, key=key),
    "tile.program_weights": lambda key: aj.tile.program_weights(CONFIG, STATE, W, key, max_iterations=2)[0],
    "tile.input_range_step": lambda key: aj.tile.input_range_step(RANGED, STATE, X, D, 0.1, key),
    "tile.calibrate": lambda key: aj.tile.calibrate(RANGED, STATE, X[None], key=key),
    "AnalogLinear": lambda key: layer()(X, key=key),
    "AnalogLinear.set_weights": lambda key: changed(layer(), lambda it: it.set_weights(W, key=key)),
    "AnalogLinear.remap_weights": lambda key: changed(layer(), lambda it: it.remap_weights(key=key)),
    "AnalogSequential": lambda key: model()(X, key=key),
    "AnalogSequential.set_weights": lambda key: changed(model(), lambda it: it.set_weights({}, key=key)),
    "AnalogTile": lambda key: aj.nn.AnalogTile(4, 3, analog_bias=False, config=CONFIG, key=key).get_weights(),
    "AnalogTile.update": lambda key: changed(layer(), lambda it: it.tiles[0].update(X, D, 0.1, key)),
    "AnalogTile.end_of_batch": lambda key: changed(layer(), lambda it: it.tiles[0].end_of_batch(key)),
    "AnalogSGD.update": stepped,
    "experiments.sampled": lambda key: aj.experiments.sampled({"a": aj.experiments.Uniform(0, 1)}, 4, key),
    "random.fold": lambda key: random.fold(key, "name"),
    "random.derive": lambda key: random.derive(key, "name"),
    "random.stream": lambda key: random.stream(key, aj.NoiseEngine.COUNTER).normal((3,)),
    "random.stream, threefry": lambda key: random.stream(key, aj.NoiseEngine.THREEFRY).normal((3,)),
    "random.uniform": lambda key: random.uniform(key, (3,), 0.0, 1.0),
    "random.normals": lambda key: random.normals(key, ["a"], (3,)),
    "run_local": lambda key: aj.run_local(small.experiment(epochs=0), key),
    "fit": lambda key: aj.fit(small.experiment(epochs=0), key=key)[1],
    "LocalRunner": lambda key: aj.LocalRunner().run(small.experiment(epochs=0), key=key),
    "run_local_inference": lambda key: aj.run_local_inference(chips(), key, progress=False)["chips"],
    "plot": lambda key: plot.apply_pulses("IdealizedPresetDevice", np.array([1, -1]), np.zeros(2), key).persistent,
}
"""Every public function that takes a key."""


def numbers(tree: Any) -> list[np.ndarray]:
    leaves = jax.tree.leaves(tree)
    typed = [jax.dtypes.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(jax.random.key_data(v) if key else v) for v, key in zip(leaves, typed, strict=True)]


@pytest.mark.parametrize("name", KEYED)
def test_a_whole_number_is_the_key_of_that_number(name: str) -> None:
    call = KEYED[name]
    wanted = numbers(call(KEY))
    for key in (7, np.int64(7)):
        for mine, theirs in zip(numbers(call(key)), wanted, strict=True):
            np.testing.assert_array_equal(mine, theirs)


NO_KEYS = {
    "text": ("a", "key='a'"),
    "float": (0.0, "key=0.0"),
    "bool": (True, "key=True"),
    "several": (jax.random.split(KEY), "of shape (2,)"),
    "rngs": (nnx.Rngs(0), "such as rngs()"),
    "array": (np.zeros(3), "of shape (3,)"),
    "too large": (2**70, "key=1180591620717411303424"),
}


@pytest.mark.parametrize("case", NO_KEYS)
@pytest.mark.parametrize("name", KEYED)
def test_what_is_no_key_is_one_line(name: str, case: str) -> None:
    key, part = NO_KEYS[case]
    with pytest.raises(aj.ConfigError, match="is not allowed: give one JAX key") as caught:
        KEYED[name](key)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_public_function_of_a_tile_that_takes_a_key_is_tried() -> None:
    takes = [name for name in aj.tile.__all__ if "key" in _parameters(getattr(aj.tile, name))]
    assert {f"tile.{name}" for name in takes} <= set(KEYED)


def _parameters(thing: Any) -> list[str]:
    return list(inspect.signature(thing).parameters)


def test_keys_may_be_traced_raw_and_mapped_over() -> None:
    draw = lambda key: random.stream(key, aj.NoiseEngine.COUNTER).normal((2,))  # noqa: E731
    wanted = draw(KEY)
    np.testing.assert_array_equal(jax.jit(draw)(7), wanted)
    np.testing.assert_array_equal(draw(jax.random.PRNGKey(7)), wanted)
    np.testing.assert_array_equal(draw(np.asarray(jax.random.PRNGKey(7))), wanted)
    np.testing.assert_array_equal(jax.vmap(draw)(jnp.arange(9))[7], wanted)
    np.testing.assert_array_equal(jax.vmap(draw)(jax.random.split(KEY, 3))[2], draw(jax.random.split(KEY, 3)[2]))
    for key in (2**40, -1, -(2**63), 2**63 - 1):
        np.testing.assert_array_equal(draw(key), draw(jax.random.key(key)))
    assert key_entry(np.int32(7)) == 7
    assert key_entry(KEY) == key_entry(jax.random.PRNGKey(7)) == {"impl": "threefry2x32", "data": [0, 7]}


# -------------------------------------------------------------------------- arrays
ARRAYS: dict[str, Callable[[Any], Any]] = {
    "tile.forward": lambda x: aj.tile.forward(CONFIG, STATE, x, KEY),
    "tile.backward": lambda x: aj.tile.backward(CONFIG, STATE, x, KEY),
    "tile.observe": lambda x: aj.tile.observe(CONFIG, STATE, x),
    "tile.update x": lambda x: aj.tile.update(CONFIG, STATE, x, D, 0.1, KEY),
    "tile.update d": lambda x: aj.tile.update(CONFIG, STATE, X, x, 0.1, KEY),
    "tile.set_weights": lambda x: aj.tile.set_weights(CONFIG, STATE, x, KEY),
    "AnalogLinear": lambda x: layer()(x, key=KEY),
    "AnalogLinear.set_weights": lambda x: layer().set_weights(x, key=KEY),
    "AnalogLinear.set_weights bias": lambda x: layer().set_weights(W, x, key=KEY),
    "AnalogSequential": lambda x: model()(x, key=KEY),
    "AnalogSequential.set_weights": lambda x: model().set_weights({"layers/0": (x, None)}, key=KEY),
    "Flatten": lambda x: aj.nn.AnalogSequential(aj.nn.Flatten())(x),
    "Tanh": lambda x: aj.nn.Tanh()(x),
    "LogSoftmax": lambda x: aj.nn.AnalogSequential(aj.nn.LogSoftmax())(x),
    "AnalogTile.update x": lambda x: layer().tiles[0].update(x, D, 0.1, KEY),
    "AnalogTile.update d": lambda x: layer().tiles[0].update(X, x, 0.1, KEY),
    "from_arrays x": lambda x: aj.data.from_arrays(x, [0, 1], X, [0, 1]),
    "from_arrays y": lambda y: aj.data.from_arrays(X, y, X, [0, 1]),
    "Splits x": lambda x: aj.fit(small.experiment(), aj.experiments.data.Splits(x, D, X, D)),
    "Splits y": lambda y: aj.fit(small.experiment(), aj.experiments.data.Splits(X, D, X, y)),
}
NO_NUMBERS = {
    "text": np.full((2, 4), "1"),
    "complex": X * 1j,
    "complex of JAX": jnp.asarray(X) * 1j,
    "objects": np.full((2, 4), None),
    "ragged": [[1.0, 2.0], [3.0]],
    "keys": jax.random.split(KEY),
}


@pytest.mark.parametrize("case", NO_NUMBERS)
@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_no_array_of_numbers_is_one_line(name: str, case: str) -> None:
    with pytest.raises(aj.DataError, match=r"numbers|rectangular") as caught:
        ARRAYS[name](NO_NUMBERS[case])
    assert "\n" not in str(caught.value)


def test_complex_arrays_are_refused_while_tracing_and_other_numbers_taken() -> None:
    with pytest.raises(aj.DataError, match="x has type complex64"):
        jax.jit(lambda x: aj.tile.forward(CONFIG, STATE, x, KEY))(X * 1j)
    wanted = aj.tile.forward(CONFIG, STATE, X, KEY)
    for x in (X.tolist(), X.astype(int), X > 0, jnp.asarray(X, jnp.bfloat16)):
        np.testing.assert_array_equal(aj.tile.forward(CONFIG, STATE, x, KEY), wanted)


SINGLE: dict[str, Callable[[Any], Any]] = {
    "alpha": lambda value: aj.tile.decay(CONFIG, STATE, value, KEY),
    "delta_t": lambda value: aj.tile.drift(CONFIG, STATE, value, KEY),
    "probability": lambda value: aj.tile.reset(CONFIG, STATE, probability=value, key=KEY),
    "limit": lambda value: aj.tile.clip(CONFIG, STATE, KEY, value),
    "learning_rate": lambda value: aj.tile.update(CONFIG, STATE, X, D, value, KEY),
}


@pytest.mark.parametrize("value", ["0.1", 1j, True, np.ones(2), [0.1], float("nan")], ids=repr)
@pytest.mark.parametrize("name", SINGLE)
def test_what_is_not_one_number_is_one_line(name: str, value: Any) -> None:
    with pytest.raises(aj.ConfigError, match=f"{name}=.* is not allowed: give"):
        SINGLE[name](value)


@pytest.mark.parametrize("shape", ["34", 3, (3,), (3, 4, 5), (3, 0), (3.0, 4), (True, 4), None])
def test_the_shape_of_a_tile_is_two_whole_numbers(shape: Any) -> None:
    with pytest.raises(aj.ShapeError, match="shape=.* is not allowed: give"):
        aj.tile.init(CONFIG, KEY, shape)


# ----------------------------------------------------------------------- arguments
CONSTRUCTORS = [
    (lambda: aj.SoftBoundsDevice(dw_mi=1), "SoftBoundsDevice has no argument 'dw_mi'; did you mean 'dw_min'?"),
    (lambda: aj.SoftBoundsDevice(0.1), "SoftBoundsDevice has 1 arguments without a name: give all by name"),
    (lambda: aj.SingleRPUConfig(devise=1), "SingleRPUConfig has no argument 'devise'; did you mean 'device'?"),
    (lambda: aj.FloatingPointRPUConfig(devise=1), "FloatingPointRPUConfig has no argument 'devise'; did you"),
    (lambda: aj.InferenceRPUConfig(modifer=1), "InferenceRPUConfig has no argument 'modifer'; did you mean"),
    (lambda: aj.presets.GokmenVlasovPreset(devise=1), "no field 'devise'; did you mean 'device'?"),
    (lambda: aj.BasicTraining(small.data(), small.model(), epoch=1), "BasicTraining has no argument 'epoch'; did"),
    (lambda: aj.BasicTraining(small.data()), "BasicTraining needs the argument 'model'"),
    (lambda: aj.nn.AnalogLinear(4, 3, confg=CONFIG, rngs=nnx.Rngs(0)), "no argument 'confg'; did you mean 'config'?"),
    (lambda: aj.nn.AnalogLinear(4, 3), "AnalogLinear needs the argument 'rngs'"),
    (
        lambda: aj.nn.AnalogLinear(4, 3, True, CONFIG, rngs=nnx.Rngs(0)),
        "has 4 arguments without a name: give at most 3",
    ),
    (lambda: aj.nn.AnalogLinear(4, 3, in_features=4, rngs=nnx.Rngs(0)), "has the argument 'in_features' twice"),
    (lambda: aj.nn.AnalogLinear(4, 3, rngs=0), "rngs=0 is not allowed: give nnx.Rngs(0)"),
    (lambda: aj.nn.AnalogLinear(4, 3, rngs=KEY), "rngs=Array((), .* is not allowed: give nnx.Rngs(0)"),
    (lambda: aj.nn.AnalogLinear(4, 3, rngs=nnx.Rngs(dropout=0)), "rngs has no stream 'params'"),
    (lambda: aj.nn.LeakyReLU(slope=0.1), "LeakyReLU has no argument 'slope'"),
    (lambda: aj.nn.Sigmoid(dim=1), "Sigmoid has no argument 'dim'"),
    (lambda: aj.nn.AnalogSequential(layers=[]), "AnalogSequential has no argument 'layers'"),
    (
        lambda: aj.fit(small.experiment(), reports=print),
        "reports=<built-in function print> is not allowed: give a list",
    ),
    (lambda: aj.run_local(small.experiment(), stdout=True, reports=print), "reports=<built-in .* give a list"),
    (lambda: aj.run_local(small.experiment(), reports=[None]), "reports[0]=None is not allowed: give a function"),
]


@pytest.mark.parametrize(("make", "message"), CONSTRUCTORS, ids=[row[1][:60] for row in CONSTRUCTORS])
def test_a_mistaken_argument_is_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(aj.ConfigError) as caught:
        make()
    assert "\n" not in str(caught.value)
    for part in message.split(".*"):
        assert part in str(caught.value)


def test_every_configuration_and_layer_answers_an_unknown_argument() -> None:
    layers = [getattr(aj.nn, name) for name in aj.nn.__all__]
    layers = [kind for kind in layers if isinstance(kind, type) and issubclass(kind, aj.nn.AnalogSequential.__mro__[1])]
    public = [getattr(aj, name) for name in aj.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, configs.Config)]
    assert len(layers) > 10
    assert len(kinds) > 30
    for kind in (*layers, *kinds):
        with pytest.raises(aj.ConfigError, match=f"{kind.__name__} has no argument 'not_there'"):
            kind(not_there=1)


def test_a_stream_of_rngs_draws_like_the_whole() -> None:
    first, second = (aj.nn.AnalogLinear(4, 3, rngs=rngs) for rngs in (nnx.Rngs(0), nnx.Rngs(0).params))
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])


TARGETS = [
    (np.array([0.5, 1.0]), "label 0.5 at index 0; allowed: whole numbers, or floating-point targets .* y[:, None]"),
    (np.array([[1], [2]]), "0 and 1 for several labels (N, k), or floating-point targets (N, k), such as"),
    (np.array([1.0, 2.0]), "mse_loss: predictions (2, 1) and targets (2,) do not fit: .* such as targets[:, None]"),
    (np.array([1, 2]), "mse_loss: predictions (2, 1) and targets (2,) do not fit: .* such as targets[:, None]"),
]


@pytest.mark.parametrize(("y", "message"), TARGETS, ids=[row[1][:30] for row in TARGETS])
def test_targets_of_a_regression_are_told_their_shape(y: np.ndarray, message: str) -> None:
    network = aj.nn.AnalogSequential(aj.nn.AnalogLinear(4, 1, rngs=nnx.Rngs(0)))
    with pytest.raises((aj.DataError, aj.ShapeError)) as caught:
        aj.run_local(aj.BasicTraining((X, y, X, y), network, loss_function="MSELoss", epochs=1))
    for part in message.split(".*"):
        assert part in str(caught.value)
