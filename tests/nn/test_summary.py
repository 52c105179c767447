"""What one call of a model does on tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

import aihwjax as aj
from aihwjax import nn
from aihwjax.errors import ConfigError, ModuleError, ShapeError
from aihwjax.nn.summary.counting import COND, WHILE
from aihwjax.nn.summary.table import scaled
from tests.nn.models import exact

KEY = jax.random.key(3)
CONFIG = exact(max_input_size=8, max_output_size=8)


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    """Return a shape in place of an array."""
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


class Everything(nnx.Module):
    """Layers in all the ways in which models call them; nothing of it is ever drawn."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.wide = nn.AnalogLinear(12, 9, config=CONFIG, rngs=rngs)
        self.biased = nn.AnalogLinear(4, 4, config=exact(digital_bias=False), rngs=rngs)
        self.grouped = nn.AnalogConv(4, 6, (2, 2), padding="VALID", feature_group_count=2, config=exact(), rngs=rngs)
        self.square = nn.AnalogLinear(4, 4, config=CONFIG, rngs=rngs)
        self.idle = nn.AnalogLinear(2, 2, config=CONFIG, rngs=rngs)
        self.rnn = nn.AnalogRNN(nn.AnalogLSTMCell, 4, 3, config=CONFIG, rngs=rngs)
        self.stack = nnx.vmap(lambda key: nn.AnalogLinear(4, 4, config=CONFIG, rngs=nnx.Rngs(key)))(
            jax.random.split(KEY, 3)
        )
        self.norm = nnx.LayerNorm(4, rngs=rngs)

    def once(self, x: jax.Array) -> Any:
        """Call layers of several tiles; one of them twice, one in a compiled function."""
        return self.wide(x), self.wide(x[..., :2, :]), nnx.jit(lambda layer, x: layer(x))(self.biased, x[..., :4])

    def images(self, x: jax.Array) -> Any:
        """Call a convolution."""
        return self.grouped(x)

    def over_time(self, x: jax.Array) -> Any:
        """Call layers in three loops."""
        step = nnx.scan(lambda layer, _: (layer, layer(x[:, 0])), in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
        ours = nn.scan(lambda carry, _: (carry, self.square(carry)), x[:, 0], jnp.arange(5))
        return self.rnn(x), step(self.square, jnp.arange(7)), ours

    def many(self, x: jax.Array) -> Any:
        """Call a stack side by side with one input, then one after the other."""
        step = nnx.scan(lambda x, layer: (x, layer(x)), in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
        beside = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(self.stack, x)
        return beside, step(x, self.stack), nnx.vmap(lambda layer, x: layer(x), in_axes=(None, 0))(self.square, x)

    def slope(self, x: jax.Array, *, key: jax.Array) -> Any:
        """Take a derivative through a loop whose steps are computed again."""
        step = jax.checkpoint(lambda x, key: (self.square(x, key=key), None))
        return jax.grad(lambda x: lax.scan(step, x, jax.random.split(key, 3))[0].sum())(x)

    def depends(self, x: jax.Array, *, key: jax.Array) -> Any:
        """Call layers where the number of calls depends on data."""
        again = lax.while_loop(lambda x: x.sum() < 1, lambda x: self.square(x, key=key), x)
        short = lambda x: self.biased(x, key=key)  # noqa: E731
        long = lambda x: self.biased(self.biased(x, key=key), key=key)  # noqa: E731
        keys = jax.vmap(lambda key: self.square(x, key=key))(jax.random.split(key, 2))
        return lax.cond(again.sum() > 0, short, long, again), keys


@pytest.fixture(scope="module")
def model() -> Everything:
    return nnx.eval_shape(Everything)


def rows(method: Any, *sizes: int, **kwargs: Any) -> dict[str, dict[str, Any]]:
    """Return the rows of the layers that are called, by path."""
    return {row["path"]: row for row in aj.analog_summary(method, shape(*sizes), **kwargs).rows if row["calls"]}


def test_layers_beyond_a_tile_are_on_several(model: Everything) -> None:
    found = rows(model.once, 5, 12)
    wide, biased = found["wide"], found["biased"]
    assert wide["tile_sizes"] == "2 of 5x6, 2 of 4x6" and wide["tiles"] == 4 and wide["array"] == "8x8"
    assert wide["utilisation"] == pytest.approx(9 * 12 / (4 * 64))
    assert (wide["calls"], wide["products"], wide["reuse"], wide["macs"]) == (2, 5 + 2, 7, 7 * 9 * 12)
    assert (wide["analog_parameters"], wide["digital_parameters"]) == (9 * 12, 9)
    # each tile converts its own inputs and outputs
    assert (wide["dac_conversions"], wide["adc_conversions"]) == (7 * 24, 7 * 18)
    assert (wide["crosspoint_reads"], wide["digital_operations"]) == (7 * 108, 7 * (18 + 9 + 9))
    assert biased["tile_sizes"] == "4x5" and (biased["analog_parameters"], biased["digital_parameters"]) == (20, 0)
    assert biased["array"] == "512x512" and biased["macs"] == 5 * 16 and biased["dac_conversions"] == 5 * 5


def test_groups_and_patches(model: Everything) -> None:
    (row,) = rows(model.images, 2, 5, 4, 4).values()
    assert (row["outputs"], row["inputs"], row["tile_sizes"], row["tiles"]) == (6, 8, "2 of 3x8", 2)
    assert (row["calls"], row["products"], row["macs"]) == (1, 2 * 4 * 3, 24 * 48)


def test_loops_count_their_steps(model: Everything) -> None:
    found = rows(model.over_time, 2, 6, 4)
    names = [f"rnn/cells/0/0/{name}" for name in ("hidden_layer", "input_layer")]
    assert [(found[name]["calls"], found[name]["products"]) for name in names] == [(6, 12), (1, 12)]
    assert (found["square"]["calls"], found["square"]["products"]) == (12, 24)
    assert not any(row["note"] for row in found.values())


def test_stacks_count_each_of_their_layers(model: Everything) -> None:
    found = rows(model.many, 5, 4)
    stack = found["stack"]
    assert (stack["stack"], stack["tiles"], stack["analog_parameters"], stack["digital_parameters"]) == (3, 3, 48, 12)
    assert (stack["calls"], stack["products"], stack["reuse"]) == (1 + 3, 30, 10)
    assert found["square"]["products"] == 5
    assert rows(model.slope, 5, 4)["square"]["products"] == 2 * 3 * 5


def test_what_depends_on_data_is_said(model: Everything) -> None:
    summary = aj.analog_summary(model.depends, shape(5, 4), key=KEY)
    found = {row["path"]: row for row in summary.rows if row["calls"]}
    assert (found["square"]["products"], found["square"]["note"]) == (5 + 10, WHILE)
    assert (found["biased"]["products"], found["biased"]["note"]) == (10, COND)
    assert f"square: {WHILE}" in str(summary) and f"biased: {COND}" in str(summary)


def test_totals_costs_and_text(model: Everything) -> None:
    costs = aj.Costs(dac_energy=1.0, adc_energy=10.0, read_energy=100.0, digital_energy=1000.0)
    slow = aj.Costs(dac_time=1.0, read_time=10.0, adc_time=100.0, digital_time=1000.0)
    summary = aj.analog_summary(model.once, shape(5, 12), costs=costs)
    wide = next(row for row in summary.rows if row["path"] == "wide")
    assert wide["energy"] == 7 * (24 + 10 * 18 + 100 * 108 + 1000 * 36)
    # a scale, a sum over two parts, a bias
    assert rows(model.once, 5, 12, costs=slow)["wide"]["latency"] == 7 * (111 + 3000)
    for name in ("tiles", "products", "macs", "analog_parameters", "energy", "latency", "adc_conversions"):
        assert summary.totals[name] == sum(row[name] for row in summary.rows)
    assert summary.totals["layers"] == len(summary.rows) == 8 and summary.costs is costs
    assert summary.totals["digital_parameters"] == sum(row["digital_parameters"] for row in summary.rows) + 8
    assert 0 < summary.totals["utilisation"] < 1
    text = str(summary)
    assert text == repr(summary) and "2 of 5x6, 2 of 4x6" in text and text.splitlines()[-1].startswith("total")
    assert "3 of 4x4" in text and "idle" in text
    assert [scaled(value, "J") for value in (0, 2.0, 1.5e-6, 9.999e-4, 2e-17)] == [
        "0 J",
        "2 J",
        "1.5 µJ",
        "1 mJ",
        "0.02 fJ",
    ]


def test_passes_are_counted() -> None:
    found = {}
    for kind in ("ONE_PASS", "POS_NEG_SEPARATE", "POS_NEG_SEPARATE_DIGITAL_SUM"):
        config = aj.InferenceRPUConfig(forward=aj.IOParameters(mv_type=kind))
        layer = nnx.eval_shape(lambda config=config: nn.AnalogLinear(4, 3, False, config=config, rngs=nnx.Rngs(0)))
        (row,) = aj.analog_summary(layer, shape(4)).rows
        found[kind] = [row[f"{name}_conversions"] for name in ("dac", "adc")] + [row["digital_operations"]]
    assert list(found.values()) == [[4, 3, 3], [8, 3, 3], [8, 6, 9]]


def test_a_converted_model_is_summed_up_and_left_as_it_is() -> None:
    digital = nnx.MultiHeadAttention(2, 4, decode=False, rngs=nnx.Rngs(0))
    model = aj.convert_to_analog(digital, exact())
    before = nnx.graphdef(model)
    summary = aj.analog_summary(model, jnp.ones((3, 5, 4)))
    assert {row["path"]: row["products"] for row in summary.rows} == dict.fromkeys(("key", "out", "query", "value"), 15)
    assert nnx.graphdef(model) == before


WRONG: dict[str, tuple[Callable[[Everything], Any], type[Exception], str]] = {
    "no analog layers": (lambda m: aj.analog_summary(m.norm, shape(4)), ModuleError, "LayerNorm has no analog layers"),
    "no module": (lambda m: aj.analog_summary(jnp.sin, shape(4)), ModuleError, "give an nnx.Module or a method"),
    "not called": (lambda m: aj.analog_summary(m, shape(4)), ModuleError, "has no __call__: give one of its methods"),
    "shape": (lambda m: aj.analog_summary(m.square, shape(3)), ShapeError, "AnalogLinear(4, 4): x has shape (3,)"),
    "shape inside": (lambda m: aj.analog_summary(m.once, shape(5, 13)), ShapeError, "wide: AnalogLinear(12, 9): x has"),
    "arguments": (lambda m: aj.analog_summary(m.once), aj.DataError, "missing 1 required positional argument"),
    "costs": (lambda m: aj.analog_summary(m.once, shape(5, 12), costs=3), ConfigError, "costs=3"),  # type: ignore[arg-type]
    "cost": (lambda m: aj.Costs(adc_time=-1), ConfigError, "Costs.adc_time=-1 is not allowed"),
    "key": (lambda m: aj.analog_summary(m.once, shape(5, 12), key="a"), ConfigError, "key="),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line(name: str, model: Everything) -> None:
    call, kind, text = WRONG[name]
    with pytest.raises(kind) as caught:
        call(model)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_pulses_of_crosspoints_are_shown_where_they_are_counted() -> None:
    counting = aj.SingleRPUConfig(device=aj.ConstantStepDevice(count_pulses=True))
    first, second = (nn.AnalogLinear(4, 2, config=c, rngs=nnx.Rngs(0)) for c in (counting, aj.SingleRPUConfig()))
    for tile in first.tiles:
        tile.update(jnp.ones((8, 4)), jnp.ones((8, 2)), 0.01, KEY)
    summary = aj.analog_summary(nn.AnalogSequential(first, nn.AnalogLinear(2, 2, rngs=nnx.Rngs(1))), shape(1, 4))
    pulses = first.pulse_counts()
    expected = int(pulses.up.sum() + pulses.down.sum())
    assert expected > 0 and [row["pulses"] for row in summary.rows] == [expected, None]
    assert summary.totals["pulses"] == expected and str(summary).splitlines()[-1].endswith(f"{expected:,}")
    nothing = aj.analog_summary(second, shape(1, 4))
    assert nothing.totals["pulses"] is None and "pulses" not in str(nothing)
    of_shapes = nnx.eval_shape(lambda: nn.AnalogLinear(4, 2, config=counting, rngs=nnx.Rngs(0)))
    assert aj.analog_summary(of_shapes, shape(1, 4)).totals["pulses"] is None
