"""Writing weights by pulses, and reading them through the converters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax.errors import AihwjaxError
from tests.marks import slow
from tests.nn.models import BARE, exact, inputs

KEY = jax.random.key(3)
TARGET = jnp.array([[0.3, -0.2], [0.1, 0.25], [-0.4, 0.05]])
PERFECT = aj.IOParameters(is_perfect=True)
DEVICE = aj.ConstantStepDevice(dw_min=0.004, count_pulses=True)
PULSED = aj.SingleRPUConfig(device=DEVICE, forward=PERFECT, backward=PERFECT)
EXACT = exact()
"""Corrections without pulses, which compile quickly."""


def written(config: aj.TileConfig = EXACT, target: Any = TARGET, **options: Any) -> Any:
    state = aj.tile.init(config, KEY, (3, 2))
    return aj.tile.program_weights(config, state, target, jax.random.key(7), **{"max_iterations": 150, **options})


def test_pulses_bring_the_weights_to_the_target() -> None:
    state, result = written(PULSED, tolerance=0.03)
    deviation = float(jnp.abs(state.weights - TARGET).mean() / 0.4)
    assert bool(result.converged) and deviation < 0.03
    assert 1 < int(result.iterations) < 150
    assert float(result.deviation) == pytest.approx(deviation, rel=1e-5)
    assert float(result.error) == pytest.approx(deviation, rel=1e-4)  # a perfect read
    counts = aj.tile.pulse_counts(PULSED, state)
    np.testing.assert_array_equal(result.pulses.up, counts.up)
    assert int((result.pulses.up + result.pulses.down).min()) > 0


def test_without_a_target_a_tile_keeps_its_weights_and_a_second_call_works() -> None:
    state = aj.tile.set_weights(EXACT, aj.tile.init(EXACT, KEY, (3, 2)), TARGET, KEY)
    for number in (1, 2):  # the reference fails at the second (spec: tile_ops, bug 1)
        state, result = aj.tile.program_weights(EXACT, state, None, jax.random.key(number), tolerance=0.001)
        assert bool(result.converged) and int(result.iterations) > 1 and result.pulses is None
    np.testing.assert_allclose(state.weights, TARGET, atol=0.004)


def test_no_iteration_is_made_where_the_start_is_good_and_none_are_allowed_none_are_made() -> None:
    assert int(written(w_init=TARGET)[1].iterations) == 0
    state, result = written(w_init=0.05, max_iterations=0)
    assert int(result.iterations) == 0 and not bool(result.converged)
    assert 0 < float(jnp.abs(state.weights).max()) <= 0.05


def test_a_tolerance_of_zero_means_all_iterations() -> None:
    assert int(written(tolerance=0.0, max_iterations=9)[1].iterations) == 9


def test_noise_hides_errors_and_more_reads_show_them() -> None:
    """Spec: tile_ops, trap 13: the mean error of a read is at least that of its noise."""
    noisy = EXACT.replace(forward=BARE.replace(out_noise=0.06))
    floor = 0.06 * np.sqrt(2 / np.pi) / 0.4
    _, once = written(noisy, tolerance=0.06, max_iterations=60)
    _, often = written(noisy, tolerance=0.06, max_iterations=60, reads=64)
    assert int(once.iterations) == 60 and float(once.error) > 0.4 * floor
    assert bool(often.converged) and float(often.deviation) < 0.1


def test_own_inputs_are_read_instead_of_single_lines() -> None:
    state, result = written(x=inputs(6, 2), tolerance=0.001, learning_rate=0.05, max_iterations=3000)
    assert bool(result.converged)
    np.testing.assert_allclose(state.weights, TARGET, atol=0.01)


def test_a_wild_start_is_written_in_every_way() -> None:
    state = aj.tile.set_input_range(EXACT, aj.tile.init(EXACT, KEY, (3, 2)), 0.1)

    def run(key: jax.Array, rate: Any) -> Any:
        after, result = aj.tile.program_weights(EXACT, state, TARGET, key, learning_rate=rate, w_init=1.0)
        return after.weights, result.iterations, after.input_range

    eager = run(KEY, 0.1)
    constants, arguments = jax.jit(lambda: run(KEY, 0.1))(), jax.jit(run)(KEY, 0.1)
    several = jax.jit(jax.vmap(run, (None, 0)))(KEY, jnp.array([0.1, 0.5]))
    for other in (constants, arguments, jax.tree.map(lambda a: a[0], several)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), eager, other)
    assert int(several[1][1]) < int(several[1][0])
    assert float(eager[2]) == pytest.approx(0.1)  # a range plays no part, and stays


@pytest.mark.parametrize("bias", [True, False])
def test_an_exact_read_is_exact(bias: bool) -> None:
    mapping = {"digital_bias": not bias, "weight_scaling_omega": 0.5, "learn_out_scaling": True}
    layer = aj.nn.AnalogLinear(4, 3, bias, config=exact(**mapping), rngs=nnx.Rngs(0))
    layer.tiles[0].out_scaling.set_value(jnp.array([1.5]))
    for scaling in (True, False):
        wanted = layer.get_weights(apply_weight_scaling=scaling)
        read = layer.get_weights(apply_weight_scaling=scaling, realistic=True, key=1)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), wanted, read)


def test_the_error_of_a_read_is_that_of_its_noise() -> None:
    config = aj.SingleRPUConfig(forward=BARE.replace(out_noise=0.1))
    state = aj.tile.init(config, KEY, (20, 6))

    def error(over_sampling: int) -> float:
        read = aj.tile.get_weights(config, state, realistic=True, key=1, over_sampling=over_sampling)
        return float(jnp.sqrt(((read - state.weights) ** 2).mean()))

    # least squares of standard normal inputs: variance sigma² / (n - in - 1), here of 120 weights
    for over_sampling in (10, 40):
        assert error(over_sampling) == pytest.approx(0.1 / np.sqrt(6 * over_sampling - 7), rel=0.25)


@pytest.mark.parametrize(("quirks", "kept"), [(False, 1.0), (True, 0.683)])
def test_inputs_of_a_read_fit_the_range_except_in_the_reference(quirks: bool, kept: float) -> None:
    parts = aj.PrePostProcessingParameter(input_range=aj.InputRangeParameter(enable=True, init_value=1.0))
    config = exact().replace({"pre_post": parts, "reference_quirks": quirks})
    layer = aj.nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0))
    read, _ = layer.get_weights(realistic=True, key=1, over_sampling=400)
    weights, _ = layer.get_weights()
    assert float((read * weights).sum() / (weights**2).sum()) == pytest.approx(kept, abs=0.03)


@pytest.mark.parametrize("config", [EXACT, slow(PULSED)], ids=["exact", "pulsed"])
def test_a_layer_of_several_tiles_is_written_and_read_tile_by_tile(config: aj.TileConfig) -> None:
    mapping = aj.MappingParameter(max_input_size=3, max_output_size=2, weight_scaling_omega=0.4)
    layer = aj.nn.AnalogLinear(5, 4, config=config.replace(mapping=mapping), rngs=nnx.Rngs(0))
    weights, bias = inputs(4, 5), inputs(4, seed=2)
    result = layer.program_weights(weights, bias, key=1, tolerance=0.05, max_iterations=200)
    assert result.iterations.shape == result.converged.shape == (4,) and bool(result.converged.all())
    assert result.pulses is None if config is EXACT else result.pulses.up.shape == (4, 5)
    np.testing.assert_allclose(layer.get_weights()[1], bias)
    off = jnp.abs(layer.get_weights()[0] - weights).mean() / jnp.abs(weights).max()
    assert 0 < float(off) < 0.06
    read, _ = layer.get_weights(realistic=True, key=2)
    np.testing.assert_allclose(read, layer.get_weights()[0], atol=1e-4)


def test_the_weights_of_a_chip_are_read_with_its_compensation() -> None:
    config = aj.InferenceRPUConfig(forward=PERFECT)
    layer = aj.nn.AnalogLinear(8, 6, config=config, rngs=nnx.Rngs(0))
    late = aj.drift(aj.program(layer, 1), 1e6, 2)
    alpha = late.tiles[0].chip.get_value().alpha
    assert float(alpha) > 1.2
    np.testing.assert_allclose(late.get_weights(realistic=True, key=3)[0], alpha * late.get_weights()[0], atol=1e-5)
    with pytest.raises(AihwjaxError, match="programmed as a chip, which has no pulses"):
        late.program_weights(key=0)


def layer() -> aj.nn.AnalogLinear:
    return aj.nn.AnalogLinear(2, 3, False, config=EXACT, rngs=nnx.Rngs(0))


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: written(target=TARGET.T), "target has shape"),
    (lambda: written(target=TARGET.at[0, 0].set(jnp.nan)), "target has 1 NaN"),
    (lambda: written(tolerance=-0.1), "tolerance=-0.1 is not allowed"),
    (lambda: written(max_iterations=1.5), "max_iterations=1.5 is not allowed"),
    (lambda: written(learning_rate=-1.0), "learning_rate=-1.0 is not allowed"),
    (lambda: written(w_init=-1.0), "w_init=-1.0 is not allowed"),
    (lambda: written(w_init=jnp.ones((2, 2))), "w_init has shape"),
    (lambda: written(reads=0), "reads=0 is not allowed"),
    (lambda: written(x=jnp.ones((4, 3))), "x has shape"),
    (lambda: layer().program_weights(bias=jnp.ones(3), key=0), "bias without weights"),
    (lambda: layer().get_weights(realistic=True), "key=None is not allowed with realistic=True"),
    (lambda: layer().get_weights(realistic=True, key=0, over_sampling=0), "over_sampling=0 is not allowed"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_mistakes_are_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(AihwjaxError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
