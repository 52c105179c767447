"""Models whose layers are called without a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import ConfigError, ModuleError
from tests.marks import some
from tests.nn.models import exact, inputs, noisy

KEY = jax.random.key(3)
X = inputs(5, 4)


class Block(nnx.Module):
    """A model that somebody else wrote."""

    def __init__(self, config: aj.TileConfig, rngs: nnx.Rngs) -> None:
        self.parts = nnx.Dict(first=nn.AnalogLinear(4, 6, config=config, rngs=rngs))
        self.second = nnx.List([nn.AnalogLinear(6, 4, config=config, rngs=rngs)])
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second[0](self.dropout(self.norm(self.parts["first"](x))))

    def twice(self, x: jax.Array, scale: float = 1.0) -> tuple[jax.Array, jax.Array]:
        """Call a layer two times."""
        return self.parts["first"](x), scale * self.parts["first"](x)


@pytest.fixture
def block() -> Block:
    return Block(noisy(), nnx.Rngs(0))


def test_equal_keys_give_equal_results_and_leave_the_model_as_it_was(block: Block) -> None:
    block.eval()
    before, state = nnx.graphdef(block), jax.tree.leaves(nnx.state(block))
    first, again = (nn.call(block, X, key=KEY) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, nn.call(block, X, key=jax.random.key(3)))
    assert (np.asarray(first) != nn.call(block, X, key=4)).mean() > 0.8
    assert nnx.graphdef(block) == before
    for old, new in zip(state, jax.tree.leaves(nnx.state(block)), strict=True):
        assert bool((old == new).all() if isinstance(old, jax.Array) else old == new)


def test_each_layer_and_each_call_has_noise_of_its_own(block: Block) -> None:
    first, second = nn.call(block.twice, X, key=KEY, scale=1.0)
    assert (np.asarray(first) != second).mean() > 0.8
    exactly = Block(exact(), nnx.Rngs(0))
    for one, other in (nn.call(exactly.twice, X, key=KEY),):
        np.testing.assert_array_equal(one, other)
    same = nnx.List([block.parts["first"], nnx.clone(block.parts["first"])])

    class Pair(nnx.Module):
        def __init__(self) -> None:
            self.layers = same

        def __call__(self, x: jax.Array) -> list[jax.Array]:
            return [layer(x) for layer in self.layers]

    one, other = nn.call(Pair(), X, key=KEY)
    assert (np.asarray(one) != other).mean() > 0.8


def test_a_key_that_is_given_wins(block: Block) -> None:
    layer = block.parts["first"]

    class Given(nnx.Module):
        def __init__(self) -> None:
            self.layer = layer

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.layer(x, key=KEY)

    np.testing.assert_array_equal(nn.call(Given(), X, key=1), layer(X, key=KEY))


def test_what_a_call_changes_is_changed(block: Block) -> None:
    mean, count = block.norm.mean.get_value(), block.dropout.rngs.count.get_value()
    first, second = nn.call(block, X, key=KEY), nn.call(block, X, key=KEY)
    assert (np.asarray(mean) != block.norm.mean.get_value()).any()
    assert int(block.dropout.rngs.count.get_value()) == int(count) + 2
    assert (np.asarray(first) != second).any()  # another dropout, the same noise


WAYS: dict[str, Callable[[Block, jax.Array], Any]] = {
    "jax.jit, closed over": lambda block, key: jax.jit(lambda key: nn.call(block, X, key=key))(key),
    "nnx.jit": lambda block, key: nnx.jit(lambda block, key: nn.call(block, X, key=key))(block, key),
    "jax.vmap over keys": lambda block, key: jax.vmap(lambda key: nn.call(block, X, key=key))(key[None])[0],
    "nnx.vmap over keys": lambda block, key: nnx.vmap(lambda b, k: nn.call(b, X, key=k), in_axes=(None, 0))(
        block, key[None]
    )[0],
    "jax.checkpoint": lambda block, key: jax.checkpoint(lambda key: nn.call(block, X, key=key))(key),
    "merged": lambda block, key: nn.call(nnx.merge(*nnx.split(block)), X, key=key),
}


@pytest.mark.parametrize("name", WAYS)
def test_all_ways_to_call_agree(name: str, block: Block) -> None:
    block.eval()
    np.testing.assert_allclose(WAYS[name](block, KEY), nn.call(block, X, key=KEY), rtol=1e-5, atol=1e-5)


class Inside(nnx.Module):
    """A model that transforms its layers."""

    def __init__(self, config: aj.TileConfig) -> None:
        self.layer = nn.AnalogLinear(4, 4, bias=False, config=config, rngs=nnx.Rngs(0))
        keys = jax.random.split(KEY, 3)
        self.stack = nnx.vmap(lambda key: nn.AnalogLinear(4, 4, config=config, rngs=nnx.Rngs(key)))(keys)

    def jitted(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Call a compiled function twice."""
        called = nnx.jit(lambda layer, x: layer(x))
        return called(self.layer, x), called(self.layer, x)

    def recomputed(self, x: jax.Array) -> jax.Array:
        """Compute again in the backward pass."""
        return nnx.remat(lambda layer, x: layer(x))(self.layer, x)

    def ensemble(self, x: jax.Array) -> jax.Array:
        """Call stacked layers side by side, all with the weights of the first."""
        return nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(self.stack, x)

    def through(self, x: jax.Array) -> jax.Array:
        """Call stacked layers one after the other; return what each adds."""
        step = nnx.scan(lambda x, layer: (x, layer(x)), in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
        return step(x, self.stack)[1]

    def in_time(self, x: jax.Array) -> jax.Array:
        """Call one layer at each of four steps, with the same input."""
        step = nnx.scan(lambda layer, _: (layer, layer(x)), in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
        return step(self.layer, jnp.arange(4))[1]

    def in_our_time(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The same with this library's loop, twice and nested."""

        def once(_: int, __: jax.Array) -> tuple[int, jax.Array]:
            return 0, jnp.stack([self.layer(x), self.layer(x)])

        def nested(_: int, __: jax.Array) -> tuple[int, jax.Array]:
            return 0, nn.scan(once, 0, jnp.arange(2))[1]

        return tuple(nn.scan(body, 0, jnp.arange(3))[1] for body in (once, once, nested))  # type: ignore[return-value]

    def in_jax(self, x: jax.Array) -> jax.Array:
        """The same with a loop that carries no state of NNX."""
        return lax.scan(lambda _, __: (0, self.layer(x)), 0, jnp.arange(4))[1]


def all_differ(outputs: jax.Array) -> None:
    """Check that no two of the outputs (first axis) have the same noise."""
    rows = np.asarray(outputs).reshape(outputs.shape[0], -1)
    for i, row in enumerate(rows):
        for other in rows[:i]:
            assert (row != other).mean() > 0.8  # the noise of the quick engine has a thousand values


def test_transformations_inside_the_model() -> None:
    model = Inside(noisy())
    weights = jax.tree.map(lambda a: jnp.broadcast_to(a[:1], a.shape), nnx.state(model.stack))
    nnx.update(model.stack, weights)  # what differs from here on is noise
    all_differ(jnp.stack(nn.call(model.jitted, X, key=KEY)))
    for method in (model.ensemble, model.through, model.in_time):
        outputs = nn.call(method, X, key=KEY)
        all_differ(outputs)
        compiled = jax.jit(lambda key, method=method: nn.call(method, X, key=key))(KEY)
        np.testing.assert_allclose(compiled, outputs, rtol=1e-5, atol=1e-5)
    first, second, nested = nn.call(model.in_our_time, X, key=KEY)
    all_differ(jnp.concatenate([part.reshape(-1, 5, 4) for part in (first, second, nested)]))
    gradient = jax.grad(lambda x: nn.call(model.recomputed, x, key=KEY).sum())(X)
    assert jnp.isfinite(gradient).all()


def test_the_key_of_a_loss(block: Block) -> None:
    def loss(model: Block, x: jax.Array, key: jax.Array) -> jax.Array:
        return (nn.call(model, x, key=key) ** 2).mean()

    optimizer = aj.analog_sgd(0.1)
    models = [block, nnx.clone(block)]
    for model in models:
        _, gradients = nn.value_and_grad(loss)(model, X, KEY)
        assert set(gradients.analog) == {"parts/first/tiles/0", "second/0/tiles/0"}
        assert gradients.analog["parts/first/tiles/0"][0].shape == (5, 4)
        optimizer.update(model, gradients, optimizer.init(model), KEY)
    for one, other in zip(*(jax.tree.leaves(nnx.state(model)) for model in models), strict=True):
        assert bool(jnp.all(one == other))
    assert (np.asarray(block.norm.mean.get_value()) != 0).any()


def test_steps_of_a_loop_in_a_loss_have_slots_and_noise_of_their_own() -> None:
    model = Inside(noisy())

    class Recurrent(nnx.Module):
        def __init__(self) -> None:
            self.layer = model.layer

        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.scan(lambda h, x: (jnp.tanh(self.layer(h + x)), self.layer(x)), jnp.zeros((5, 4)), x)[1]

    x = jnp.stack([X] * 3)
    _, gradients = nn.value_and_grad(lambda m, x: (nn.call(m, x, key=KEY) ** 2).mean())(Recurrent(), x)
    assert gradients.analog["layer/tiles/0"][0].shape == (30, 4)
    all_differ(nn.call(Recurrent(), x, key=KEY))


def test_mistakes_are_one_line(block: Block) -> None:
    with pytest.raises(ModuleError, match=r"needs a key: call it as layer\(x, key=.*aihwjax\.nn\.call\(model, x, key="):
        block(X)
    with pytest.raises(ModuleError, match="is called without a key inside a function that jax.jit"):
        nn.call(Inside(noisy()).in_jax, X, key=KEY)
    with pytest.raises(ModuleError, match=r"model=<function.*is not allowed: give an nnx\.Module or a method of one"):
        nn.call(lambda x: x, X, key=KEY)
    with pytest.raises(ModuleError, match="the call changes dropout/rngs/count of a model that is no argument"):
        jax.jit(lambda: nn.call(block, X, key=KEY))()
    with pytest.raises(ConfigError, match="key="):
        nn.call(block, X, key="a")
    with pytest.raises(ModuleError, match="needs a key"):
        block(X)  # an error leaves nothing behind


class Splitting(nnx.Module):
    """A model whose author splits the key as JAX users do."""

    def __init__(self) -> None:
        self.layers = nnx.List([nn.AnalogLinear(4, 4, config=noisy(), rngs=nnx.Rngs(n)) for n in range(2)])

    def __call__(self, x: jax.Array, *, key: jax.Array) -> jax.Array:
        first, second = jax.random.split(key)
        return self.layers[1](self.layers[0](x, key=first), key=second)


class Silent(nnx.Module):
    """A model that calls its layer without a key."""

    def __init__(self) -> None:
        self.layer = nn.AnalogLinear(4, 4, config=noisy(), rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(x)


@pytest.mark.parametrize("kind", some([Splitting, Silent], [Silent]))
def test_models_of_others_train_in_experiments_and_rows_and_loops(kind: type[nnx.Module]) -> None:
    x, y = np.asarray(inputs(12, 4)), np.arange(12) % 4
    for model in (kind(), nn.AnalogSequential(kind(), nn.Tanh())):
        experiment = aj.BasicTraining((x, y, x, y), model, loss_function="CrossEntropyLoss", batch_size=4, epochs=2)
        first, again = (aj.run_local(experiment, key=1, progress=False) for _ in range(2))
        assert [entry["train_loss"] for entry in first] == [entry["train_loss"] for entry in again]
    row = nn.AnalogSequential(kind(), nn.Tanh())
    np.testing.assert_array_equal(row(X, key=KEY), row(X, key=KEY))
    assert (np.asarray(row(X, key=KEY)) != row(X, key=4)).mean() > 0.8

    def loss(model: nnx.Module, x: jax.Array, key: jax.Array) -> jax.Array:
        first, _ = jax.random.split(key)
        return (row_of(model)(x, key=first) ** 2).mean()

    def row_of(model: nnx.Module) -> Callable[..., jax.Array]:
        return model  # type: ignore[return-value]

    optimizer, parts = aj.analog_sgd(0.1), aj.optim.take_apart(row)
    step = jax.jit(aj.optim.training_step(loss, optimizer, parts))
    assert jnp.isfinite(step(parts.moving, optimizer.init(row), parts.fixed, KEY, X)[2])
