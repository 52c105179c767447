"""Tools and transformations of Flax, orbax and JAX over a small model of pulsed, compound and inference layers.

The table in docs/guide/tools.md lists them.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import treescope
from flax import nnx, serialization

import aihwjax as aj
from tests.marks import some

KEY = jax.random.key(0)
X = jnp.ones((5, 4))


def network(seed: int = 0) -> aj.nn.AnalogSequential:
    """One layer of each kind of tile."""
    rngs = nnx.Rngs(seed)
    devices = [aj.SoftBoundsDevice(), aj.ConstantStepDevice()]
    compound = aj.UnitCellRPUConfig(device=aj.TransferCompound(unit_cell_devices=devices))
    modifier = aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1)
    return aj.nn.AnalogSequential(
        aj.nn.AnalogLinear(4, 3, rngs=rngs),
        aj.nn.Tanh(),
        aj.nn.AnalogLinear(3, 3, config=compound, rngs=rngs),
        aj.nn.AnalogLinear(3, 2, config=aj.InferenceRPUConfig(modifier=modifier), rngs=rngs),
    )


def called(model: nnx.Module, x: jax.Array = X) -> jax.Array:
    """The outputs of a model."""
    return model(x, key=KEY)  # type: ignore[operator]


@pytest.fixture(scope="module")
def model() -> nnx.Module:
    """The model; tests leave it as it is."""
    return network()


def put_together(model: nnx.Module, change: Callable[[Any], Any]) -> jax.Array:
    """Outputs of a model whose state went through something."""
    graph, state = nnx.split(model)
    return called(nnx.merge(graph, change(state)))


def mesh() -> jax.sharding.Mesh:
    """A mesh of one device."""
    return jax.make_mesh((1,), ("one",), axis_types=(jax.sharding.AxisType.Auto,))


def saved(checkpointer: Any, folder: Path, model: nnx.Module) -> jax.Array:
    """Outputs of another model after it got the state of a checkpoint."""
    checkpointer.save(folder / "state", nnx.state(model))
    other = network(1)
    if isinstance(checkpointer, ocp.StandardCheckpointer):
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(folder / "state", nnx.state(other))
    else:
        restored = checkpointer.restore(folder / "state", item=nnx.state(other))
    nnx.update(other, restored)
    return called(other)


def packed(model: nnx.Module) -> jax.Array:
    """Outputs of another model after it got the state from Flax's msgpack."""
    content = serialization.to_bytes(nnx.to_pure_dict(nnx.state(model)))
    other = network(1)
    state = nnx.state(other)
    nnx.replace_by_pure_dict(state, serialization.from_bytes(nnx.to_pure_dict(state), content))
    return updated(other, state)


def updated(other: nnx.Module, state: Any) -> jax.Array:
    """Outputs of a model after an update of its state."""
    nnx.update(other, state)
    return called(other)


SAME: dict[str, Callable[[nnx.Module, Path], jax.Array]] = {
    "nnx.split": lambda m, _: called(nnx.merge(*nnx.split(m, nnx.Param, ...))),
    "nnx.update": lambda m, _: updated(network(1), nnx.state(m)),
    "nnx.clone": lambda m, _: called(nnx.clone(m)),
    "nnx.eval_shape": lambda m, _: updated(nnx.eval_shape(network), nnx.state(m)),
    "nnx.to_flat_state": lambda m, _: updated(network(1), nnx.from_flat_state(nnx.to_flat_state(nnx.state(m)))),
    "nnx.jit": lambda m, _: nnx.jit(called)(m, X),
    "nnx.remat": lambda m, _: nnx.remat(called)(m, X),
    "nnx.cond": lambda m, _: nnx.cond(jnp.array(True), called, lambda m, x: 2 * called(m, x), m, X),
    "nnx.cached_partial": lambda m, _: nnx.cached_partial(nnx.jit(called), m)(X),
    "copy.deepcopy": lambda m, _: called(copy.deepcopy(m)),
    "pickle": lambda m, _: called(pickle.loads(pickle.dumps(m))),
    "jax.tree.map": lambda m, _: put_together(m, lambda s: jax.tree.map(lambda a: a, s)),
    "jax.jit": lambda m, _: jax.jit(called)(m, X),
    "jax.device_put": lambda m, _: put_together(m, lambda s: jax.device_put(s, jax.devices()[0])),
    "NamedSharding": lambda m, _: put_together(
        m, lambda s: jax.device_put(s, jax.sharding.NamedSharding(mesh(), jax.sharding.PartitionSpec()))
    ),
    "jax.shard_map": lambda m, _: jax.jit(
        jax.shard_map(
            lambda x: called(m, x),
            mesh=mesh(),
            in_specs=jax.sharding.PartitionSpec("one"),
            out_specs=jax.sharding.PartitionSpec("one"),
        )
    )(X),
    "donation": lambda m, _: put_together(m, lambda s: jax.jit(lambda s: s, donate_argnums=0)(copy.deepcopy(s))),
    "jax.checkpoint": lambda m, _: jax.checkpoint(lambda x: called(m, x))(X),
    "jax.export": lambda m, _: jax.export.export(jax.jit(lambda x: called(m, x)))(X).call(X),
    "StandardCheckpointer": lambda m, folder: saved(ocp.StandardCheckpointer(), folder, m),
    "PyTreeCheckpointer": lambda m, folder: saved(ocp.PyTreeCheckpointer(), folder, m),
    "flax.serialization": lambda m, _: packed(m),
    "ravel_pytree": lambda m, _: put_together(
        m, lambda s: (lambda flat: flat[1](flat[0]))(jax.flatten_util.ravel_pytree(s))
    ),
}
"""Tools after which a model does what it did."""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name", some(SAME, ["nnx.split", "nnx.clone", "pickle", "StandardCheckpointer", "flax.serialization"])
)
def test_a_model_is_the_same_after(name: str, model: nnx.Module, tmp_path: Path) -> None:
    np.testing.assert_allclose(SAME[name](model, tmp_path), called(model), atol=1e-5)


def test_all_paths_have_names(model: nnx.Module) -> None:
    named = jax.tree_util.DictKey | jax.tree_util.GetAttrKey | jax.tree_util.SequenceKey
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(nnx.state(model))[0]]
    assert all(isinstance(entry, named) for path in paths for entry in path)
    assert len({jax.tree_util.keystr(path) for path in paths}) == len(paths)


def test_a_tree_of_other_things_keeps_them_where_a_number_is_off() -> None:
    # what orbax does with the paths of leaves
    config = aj.IOParameters()
    names = jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.keystr(path), config)
    assert None not in jax.tree.leaves(names, is_leaf=lambda leaf: leaf is None)
    assert jax.tree.map(lambda name, value: value, names, config) == config


def test_stacked_layers_are_scanned_and_vmapped() -> None:
    keys = jax.random.split(KEY, 3)
    stack = nnx.vmap(lambda key: aj.nn.AnalogLinear(4, 4, rngs=nnx.Rngs(key)))(keys)
    assert nnx.vmap(called, in_axes=(0, None))(stack, X).shape == (3, 5, 4)
    through = nnx.scan(lambda x, layer: called(layer, x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(X, stack)
    assert through.shape == (5, 4)


def test_it_can_be_shown_and_walked(model: nnx.Module) -> None:
    assert "TileState" in treescope.render_to_text(nnx.state(model))
    assert any(isinstance(part, aj.nn.AnalogTile) for _, part in nnx.iter_modules(model))
    assert len(list(nnx.iter_graph(model))) > 10
    assert nnx.graphdef(model) == nnx.graphdef(nnx.clone(model))


# ------------------------------------------------------------------- what is refused
REFUSED: dict[str, tuple[Callable[[nnx.Module], Any], str]] = {
    "nnx.tabulate": (lambda m: nnx.tabulate(m, X, key=KEY), r"^nnx\.tabulate cannot show.*print\(model\)"),
    "jax.jvp": (lambda m: jax.jvp(lambda x: called(m, x), (X,), (X,)), "reverse mode only.*jax.jacrev"),
    "jax.jvp of jit": (lambda m: jax.jvp(jax.jit(lambda x: called(m, x)), (X,), (X,)), "reverse mode only"),
    "jit of jax.jvp": (lambda m: jax.jit(lambda x: jax.jvp(lambda x: called(m, x), (x,), (x,)))(X), "reverse mode"),
    "jax.jacfwd": (lambda m: jax.jacfwd(lambda x: called(m, x))(X), "layers/0: .*reverse mode only"),
    "jax.linearize": (lambda m: jax.linearize(lambda x: called(m, x), X)[1](X), "aihwjax.tile.forward"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_work_says_what_to_call(name: str, model: nnx.Module) -> None:
    use, message = REFUSED[name]
    with pytest.raises(aj.ModuleError, match=message) as caught:
        use(model)
    assert "\n" not in str(caught.value)
    assert called(model).shape == (5, 2)


def test_derivatives_in_reverse_mode_pass_the_guard(model: nnx.Module) -> None:
    def f(x: jax.Array) -> jax.Array:
        return (called(model, x) ** 2).sum()

    slope = jax.grad(f)(X)
    for other in (jax.jit(jax.grad(f)), jax.grad(jax.checkpoint(f)), lambda x: jax.vmap(jax.grad(f))(x[None])[0]):
        np.testing.assert_allclose(other(X), slope, atol=1e-5)
    assert jax.hessian(f)(X).shape == (5, 4, 5, 4), "forward over reverse"


def test_another_model_is_not_restored_from_msgpack(model: nnx.Module) -> None:
    stored = serialization.to_bytes(nnx.to_pure_dict(nnx.state(aj.nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0)))))
    for config, size, message in (
        (aj.SingleRPUConfig(device=aj.SoftBoundsDevice(lifetime=5.0)), 4, "is missing in what was stored"),
        (None, 5, r"\.weights was stored with shape \(3, 4\), this model has \(3, 5\)"),
    ):
        other = nnx.to_pure_dict(nnx.state(aj.nn.AnalogLinear(size, 3, config=config, rngs=nnx.Rngs(0))))
        with pytest.raises(aj.CheckpointError, match=message):
            serialization.from_bytes(other, stored)


# ------------------------------------------------------------------- gradients of Flax
def loss(model: nnx.Module, x: jax.Array = X) -> jax.Array:
    """A loss."""
    return (called(model, x) ** 2).mean()


PULSED = r"AnalogLinear\(4, 3, bias=True, ConstantStepDevice\).*learn by pulses.*value_and_grad.*analog_sgd"


@pytest.mark.parametrize("wrap", [lambda f: f, nnx.jit], ids=["eager", "jit"])
def test_gradients_of_flax_say_that_they_leave_tiles_out(wrap: Callable[..., Any]) -> None:
    layer = aj.nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
    with pytest.warns(UserWarning, match=PULSED):
        wrap(nnx.value_and_grad(loss))(layer)
    with pytest.warns(UserWarning, match=PULSED):
        nnx.grad(wrap(loss))(layer)


class Block(nnx.Module):
    """A model of a user's own around a layer."""

    def __init__(self, config: aj.TileConfig | None) -> None:
        """Make it of two layers."""
        self.first = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.inner = nnx.List([aj.nn.AnalogSequential(aj.nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(1)))])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply them."""
        return self.inner[0](self.first(x), key=0)


LEFT_OUT = [
    (aj.SingleRPUConfig(), "learn by pulses made of x and d", "aihwjax.analog_sgd;"),
    (aj.FloatingPointRPUConfig(), "learn by exact gradient descent from x and d", "aihwjax.analog_sgd;"),
    (aj.CustomRPUConfig(update=lambda w, x, d, lr, key: w), "learn by the update of their conf", "aihwjax.analog_sgd;"),
    (aj.InferenceRPUConfig(), "are no nnx.Param", "aihwjax.analog_optimizer(optax.adam(1e-3))"),
]


@pytest.mark.parametrize(("config", "how", "call"), LEFT_OUT, ids=[row[1][:15] for row in LEFT_OUT])
@pytest.mark.parametrize("wrap", [lambda f: f, nnx.jit], ids=["eager", "jit"])
def test_gradients_of_flax_say_where_what_and_how(config: aj.TileConfig, how: str, call: str, wrap: Any) -> None:
    with pytest.warns(UserWarning, match="leaves the weights of its tiles out") as caught:
        wrap(nnx.grad(loss_of_block))(Block(config))
    text = str(caught[0].message)
    assert text.startswith("inner/0/layers/0: AnalogLinear(4, 3")
    assert how in text
    assert call in text
    assert ("analog_sgd" in text) == ("analog_sgd" in call)


def loss_of_block(model: Block) -> jax.Array:
    return (model(X) ** 2).mean()


@pytest.mark.filterwarnings("error")
def test_gradients_that_leave_nothing_out_say_nothing() -> None:
    layer = aj.nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
    aj.nn.value_and_grad(loss)(layer)
    jax.grad(lambda x: loss(layer, x))(X)
    aj.nn.value_and_grad(lambda m: (loss(m), m.get_weights()), has_aux=True)(layer)


def test_a_penalty_on_read_weights_says_that_it_does_nothing() -> None:
    layer = aj.nn.AnalogLinear(4, 3, rngs=nnx.Rngs(0))
    with pytest.warns(UserWarning, match=r"tiles/0: .*weights that were read.*set_weights"):
        aj.nn.value_and_grad(lambda m: loss(m) + (m.get_weights()[0] ** 2).sum())(layer)


def test_weights_of_inference_tiles_are_parameters_of_any_optax_optimizer() -> None:
    layer = aj.nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
    with pytest.warns(UserWarning, match="no nnx.Param.*nnx.Any"):
        nnx.grad(loss)(layer)
    learned, adam = nnx.Any(nnx.Param, aj.nn.TileVariable), optax.adam(0.05)
    state, before = adam.init(nnx.state(layer, learned)), float(loss(layer))

    @nnx.jit
    def step(layer: nnx.Module, state: Any) -> Any:
        gradients = nnx.grad(loss, argnums=nnx.DiffState(0, learned))(layer)
        parameters = nnx.state(layer, learned)
        updates, state = adam.update(gradients, state, parameters)
        nnx.update(layer, optax.apply_updates(parameters, updates))
        return state

    old, _ = layer.get_weights()
    for _ in range(20):
        state = step(layer, state)
    assert loss(layer) < 0.2 * before
    assert (layer.get_weights()[0] != old).any()
