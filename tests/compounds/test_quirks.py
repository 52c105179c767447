"""Each bug of the reference: the right behaviour by default, the reference's with ``reference_quirks``."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.compounds.blocks import drawn_slice
from aihwjax.devices.base import shared_fields
from aihwjax.devices.device import Device
from aihwjax.random import NoiseEngine, stream
from aihwjax.tile.state import TileState
from tests.compounds.ideal import COUNTED, EXACT, KEY, PERFECT, WRITE, device, hidden, pair, started, update

pytestmark = pytest.mark.slow
_EVERY = {"units_in_mbatch": False, "transfer_forward": PERFECT}


def after(
    compound: Device,
    shape: tuple[int, int] = (1, 1),
    *,
    quirks: bool,
    calls: int = 1,
    size: float = 1.0,
    vectors: int = 1,
    pulses: aj.UpdateParameters = COUNTED,
) -> tuple[aj.TileConfig, TileState]:
    """Return a tile after updates with equal inputs of 1 and gradients of ``size``."""
    config, state = started(compound, shape, quirks=quirks, pulses=pulses)
    x, d = jnp.ones((vectors, shape[1])), jnp.full((vectors, shape[0]), size)
    for call in range(calls):
        state = update(config, state, x, d, 0.1, jax.random.fold_in(KEY, call))
    return config, state


def both(compound: Device, name: str, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a hidden array by default and with the quirks."""
    return tuple(hidden(*after(compound, quirks=quirks, **options), name) for quirks in (False, True))  # type: ignore[return-value]


def test_granularity_of_the_fast_device() -> None:
    compound = aj.TransferCompound(unit_cell_devices=(device(1e-3), device(1e-2)), transfer_every=0)
    right, quirk = both(compound, "hidden_weights_0")
    assert right == pytest.approx(-0.1, abs=1e-4)
    assert quirk == pytest.approx(-0.018, abs=1e-4)


def test_reset_of_the_slice_that_was_read() -> None:
    compound = aj.TransferCompound(
        unit_cell_devices=pair(),
        n_reads_per_transfer=3,
        with_reset_prob=1,
        scale_transfer_lr=False,
        transfer_update=WRITE,
        **_EVERY,
    )
    right, quirk = both(compound, "hidden_weights_1", shape=(1, 4))
    np.testing.assert_allclose(right, [[-0.1, -0.1, -0.1, 0.0]], atol=1e-4)
    np.testing.assert_allclose(quirk, [[-0.1, 0.0, 0.0, 0.0]], atol=1e-4)


def test_cycle_of_slower_devices() -> None:
    for quirks, cycles in ((False, [1, 5, 0]), (True, [1, 2, 0])):
        compound = aj.TransferCompound(unit_cell_devices=[device()] * 3, reference_quirks=quirks)
        assert [int(every) for every in compound.every(1, (2, 5))] == cycles


def test_sign_of_a_chopped_device_in_the_visible_weight() -> None:
    compound = aj.ChoppedTransferCompound(unit_cell_devices=pair(), gamma=0.5, transfer_forward=PERFECT)
    for quirks in (False, True):
        config, state = started(compound, (2, 3), quirks=quirks)
        fast = jnp.arange(1.0, 7.0).reshape(2, 3)
        signs = jnp.array([1.0, -1.0, -1.0])
        cell = dataclasses.replace(state.device, weights=(fast, jnp.zeros((2, 3)))).remember(**{"in": signs})
        state = dataclasses.replace(state, device=cell)
        state = aj.tile.update(config, state, jnp.ones((1, 3)), jnp.zeros((1, 2)), 0.0, KEY)
        right = bool(jnp.allclose(state.weights, 0.5 * fast * signs))
        assert right is not quirks


def test_exact_steps_reach_the_updated_device() -> None:
    cell = aj.VectorUnitCell(unit_cell_devices=pair())
    hidden_fast = aj.TransferCompound(unit_cell_devices=pair(), transfer_every=0)
    right, quirk = (after(cell, quirks=quirks, pulses=EXACT)[1].weights for quirks in (False, True))
    assert float(right[0, 0]) == pytest.approx(-0.1) and float(quirk[0, 0]) == 0.0
    right_fast, quirk_fast = both(hidden_fast, "hidden_weights_0", pulses=EXACT)
    assert right_fast == pytest.approx(-0.1) and quirk_fast == 0.0


def test_numbers_that_sum_to_zero_count() -> None:
    compound = aj.TransferCompound(unit_cell_devices=[device()] * 3, gamma_vec=[1.0, -1.0, 1.0], transfer_every=0)
    right, quirk = (after(compound, quirks=quirks)[1].weights for quirks in (False, True))
    assert float(right[0, 0]) == pytest.approx(-0.1, abs=1e-3) and float(quirk[0, 0]) == 0.0


def test_set_weights_starts_a_compound_anew() -> None:
    compound = aj.BufferedTransferCompound(unit_cell_devices=pair(), **_EVERY)
    for quirks in (False, True):
        config, state = after(compound, quirks=quirks, size=0.05)
        state = aj.tile.set_weights(config, state, jnp.zeros((1, 1)), KEY)
        assert bool(hidden(config, state, "buffered_FP_weight_0") != 0) is quirks


def test_random_slices_are_equally_likely() -> None:
    count, draws = 4, 4000
    source = stream(KEY, NoiseEngine.COUNTER)
    # spec: compounds, bug 26: p = (n - 1)/n^2 is the chance of each value below the last
    p = (count - 1) / count**2
    twice = np.array([p + (1 - p) * p, (1 - p) * p, (1 - p) * p, (1 - p) * (2 * count - 1) / count**2])
    expected = {False: np.full(count, 1 / count), True: twice}
    for quirks, law in expected.items():
        slices = jax.vmap(lambda i, q=quirks: drawn_slice(count, source.child(i), q))(jnp.arange(draws))
        counts = np.bincount(np.asarray(slices), minlength=count) / draws
        np.testing.assert_allclose(counts, law, atol=5 * np.sqrt(0.25 / draws))


def test_the_slow_device_does_not_read_the_fast_one() -> None:
    compound = aj.ChoppedTransferCompound(
        unit_cell_devices=pair(), in_chop_prob=0, fast_lr=0.1, transfer_forward=PERFECT, transfer_every=-1e-9
    )
    right, quirk = both(compound, "buffered_FP_weight_0", size=0.01)
    assert quirk == pytest.approx(2 * right) and right != 0


def test_the_automatic_period_counts_vectors() -> None:
    compound = aj.ChoppedTransferCompound(
        unit_cell_devices=pair(),
        in_chop_prob=0,
        fast_lr=1,
        transfer_forward=PERFECT,
        units_in_mbatch=True,
        auto_granularity=4,
    )
    right, quirk = both(compound, "buffered_FP_weight_0", size=0.002, vectors=4)
    assert right == pytest.approx(4 * quirk) and quirk != 0


def test_random_choppers_flip_at_random_only() -> None:
    compound = aj.DynamicTransferCompound(
        unit_cell_devices=pair(), in_chop_random=True, in_chop_prob=0.5, transfer_forward=PERFECT
    )
    for quirks in (False, True):
        config, state = started(compound, (1, 1), quirks=quirks)
        flips = []
        for read in range(20):
            before = float(state.device.memory["in"][0])
            state = update(config, state, jnp.ones((1, 1)), jnp.zeros((1, 1)), 0.1, jax.random.fold_in(KEY, read))
            flips.append(float(state.device.memory["in"][0]) != before)
        assert all(flips[1::2]) is quirks  # the second read ends the regular period
        assert 0 < sum(flips[0::2]) < 10


def test_choppers_across_flip_in_the_dynamic_compound() -> None:
    compound = aj.DynamicTransferCompound(unit_cell_devices=pair(), out_chop_prob=1, transfer_forward=PERFECT)
    for quirks, sign in ((False, -1), (True, 1)):
        assert int(after(compound, quirks=quirks)[1].device.memory["out"][0]) == sign


def test_steps_before_the_first_write_are_kept() -> None:
    compound = aj.DynamicTransferCompound(unit_cell_devices=pair(), fast_lr=1, transfer_forward=PERFECT)
    right, quirk = both(compound, "buffered_FP_weight", size=0.02)
    assert right == pytest.approx(-2.0, abs=0.01) and quirk == 0.0


def test_no_buffer_and_momentum_of_the_dynamic_compound() -> None:
    compound = aj.DynamicTransferCompound(
        unit_cell_devices=pair(), fast_lr=1, no_buffer=True, in_chop_prob=0.01, transfer_forward=PERFECT
    )
    right, quirk = both(compound, "buffered_FP_weight", size=0.001, calls=2)
    assert right == pytest.approx(-0.2, abs=1e-3) and quirk == pytest.approx(-0.3, abs=1e-3)


def test_second_device_of_a_pair() -> None:
    compound = aj.OneSidedUnitCell(unit_cell_devices=(device(1e-3), device(2e-3)))
    right, quirk = both(compound, "dwmin_up_1")
    assert right == pytest.approx(2e-3) and quirk == pytest.approx(1e-3)


def test_an_inverted_copy_is_of_the_first_device() -> None:
    cell = aj.OneSidedUnitCell(unit_cell_devices=[aj.ConstantStepDevice()], copy_inverted=True)
    for quirks in (False, True):
        config, state = started(cell, (2, 3), quirks=quirks)
        top, bottom = (hidden(config, state, name) for name in ("max_bound_1", "min_bound_0"))
        assert bool(np.allclose(top, -bottom)) is not quirks


def test_a_refresh_writes_upward() -> None:
    cell = aj.OneSidedUnitCell(
        unit_cell_devices=pair(bound=1.0), refresh_every=1, refresh_forward=PERFECT, refresh_update=WRITE
    )
    for quirks, written in ((False, 0.6), (True, -0.6)):
        config, state = started(cell, (1, 1), quirks=quirks)
        weights = (jnp.full((1, 1), 0.3), jnp.full((1, 1), 0.9))
        state = dataclasses.replace(state, device=dataclasses.replace(state.device, weights=weights))
        state = update(config, state, jnp.zeros((1, 1)), jnp.zeros((1, 1)), 0.1, KEY)
        assert hidden(config, state, "hidden_weights_1") == pytest.approx(written, abs=2e-3)


# measured on the reference: x from 1 to 0.3, d from 0.5 to 1, ten levels of x or of d without chance
@pytest.mark.parametrize(
    ("side", "shape", "place"),
    [("n_x_bins", (1, 1), 0), ("n_d_bins", (3, 1), 0), ("n_x_bins", (4, 2), 1), ("n_d_bins", (2, 3), None)],
)
def test_one_side_of_mixed_precision_may_be_quantised(side: str, shape: tuple[int, int], place: int | None) -> None:
    compound = aj.MixedPrecisionCompound(
        device=device(), stoc_round_x=False, stoc_round_d=False, transfer_lr=0, **{side: 10}
    )
    x, d = np.linspace(1, 0.3, shape[1]), np.linspace(0.5, 1, shape[0])
    if side == "n_x_bins":
        levels = x * 5 / max(x)
        x = np.round(levels) / 5
    quantised = np.round(d * 5 / max(d)) * max(d) / 5 if side == "n_d_bins" else d
    wrong = np.zeros(shape)
    if place is not None:
        wrong[place] = quantised[-1] * x
    for quirks, expected in ((False, np.outer(quantised, x)), (True, wrong)):
        config, state = started(compound, shape, quirks=quirks)
        inputs = jnp.asarray(np.linspace(1, 0.3, shape[1]), jnp.float32)[None]
        state = update(config, state, inputs, jnp.asarray(d, jnp.float32)[None], 1.0, KEY)
        np.testing.assert_allclose(hidden(config, state, "hidden_weights_chi"), expected, atol=1e-6)


def noisy(**fields: Any) -> aj.SoftBoundsDevice:
    """Return a device with write noise of standard deviation 1 and nothing else."""
    plain = shared_fields(device(dw_min=0.01, bound=1e3))
    return aj.SoftBoundsDevice(**{**plain, "write_noise_std": 100.0, **fields})


DISCARDED = {
    "pair": lambda **asked: aj.OneSidedUnitCell(unit_cell_devices=[noisy(), noisy(**asked)]),
    "three devices": lambda **asked: aj.TransferCompound(
        unit_cell_devices=[noisy(), noisy(), noisy(**asked)], transfer_every=0
    ),
    "reference of three": lambda **asked: aj.ReferenceUnitCell(
        unit_cell_devices=[noisy(), noisy(), noisy(**asked)], reference_quirks=True
    ),
}


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("pair", {}),
        ("pair", {"lifetime": 10.0}),
        ("three devices", {"diffusion": 0.1}),
        ("reference of three", {"lifetime": 10.0}),
    ],
)
def test_upkeep_that_a_discarded_configuration_asks_for(name: str, asked: dict[str, float]) -> None:
    for quirks in (False, True):
        if name == "reference of three" and not quirks:
            continue  # refused
        config, state = started(DISCARDED[name](**asked), (2, 3), quirks=quirks)
        after_batch = jax.jit(aj.tile.end_of_batch)(config, state, KEY)
        redrawn = not np.array_equal(state.weights, after_batch.weights)
        # the second device of a pair is used by default, and then its own upkeep is right
        assert redrawn is bool(asked and (quirks or name == "pair"))
        kept = [key for key in aj.tile.hidden_parameters(config, state) if key.startswith("persistent")]
        for key in kept if quirks else ():
            np.testing.assert_array_equal(hidden(config, after_batch, key), hidden(config, state, key))


def test_discarded_upkeep_follows_the_configuration() -> None:
    plain, asking = aj.ConstantStepDevice(), aj.ConstantStepDevice(lifetime=10)
    cell = aj.TransferCompound(unit_cell_devices=[plain, plain, asking], reference_quirks=True)
    assert cell.decays() and not cell.diffuses()
    assert not cell.replace(reference_quirks=False).decays()
    assert cell.replace(reference_quirks=False).replace(reference_quirks=True).decays()
    assert not cell.replace(unit_cell_devices=[plain, plain, aj.ConstantStepDevice(diffusion=1)]).decays()
    assert aj.config.from_toml(aj.config.to_toml(cell)) == cell


def test_devices_that_are_not_written_keep_their_weights() -> None:
    """Measured on the reference: variances 2.0, 2.93, 3.97 of the second device, 1.0 of the first (sigma 1)."""
    shape = (100, 100)
    for quirks, variances in ((False, (0, 0, 0)), (True, (2, 3, 4))):
        config = aj.TileConfig(device=aj.ReferenceUnitCell(unit_cell_devices=[noisy()]), reference_quirks=quirks)
        state = jax.jit(aj.tile.init, static_argnames="shape")(config, KEY, shape=shape)
        for writes, variance in enumerate(variances):
            # the standard error of a variance over n draws is sqrt(2 / n) of it
            assert np.var(hidden(config, state, "hidden_weights_1")) == pytest.approx(variance, rel=5 * np.sqrt(2e-4))
            assert np.var(hidden(config, state, "hidden_weights_0")) == pytest.approx(1, rel=0.08)
            state = jax.jit(aj.tile.set_weights)(config, state, jnp.zeros(shape), jax.random.fold_in(KEY, writes))


@pytest.mark.parametrize("compound", [aj.ChoppedTransferCompound, aj.DynamicTransferCompound])
def test_random_slices_of_chopped_compounds(compound: type) -> None:
    fields = {"unit_cell_devices": pair(), "random_selection": True, "fast_lr": 0.1, "transfer_forward": PERFECT}
    with pytest.raises(aj.ConfigError, match="random_selection"):
        compound(**fields)
    config, state = started(compound(**fields, reference_quirks=True), (2, 6), quirks=True)
    ends, slices = 0, []
    for call in range(40):
        state = update(config, state, jnp.ones((1, 6)), jnp.ones((1, 2)), 0.1, jax.random.fold_in(KEY, call))
        slices.append((int(state.device.memory["slices"][0]) - 1) % 6)
        ends += slices[-1] == 5
        assert int(state.device.memory["sweeps"]) == ends
    assert set(slices) == set(range(6))


def test_one_period_without_transfers() -> None:
    for every in (0, -1):
        for quirks in (False, True):
            compound = aj.MixedPrecisionCompound(device=device(), transfer_every=every)
            config, state = after(compound, quirks=quirks, calls=4)
            assert float(state.weights[0, 0]) == 0
            assert hidden(config, state, "hidden_weights_chi") == pytest.approx(0.4)


def test_time_of_a_mixed_precision_transfer() -> None:
    right, quirk = both(aj.MixedPrecisionCompound(device=device()), "hidden_weights_chi", size=0.015)
    assert right == pytest.approx(0.0005, abs=1e-6) and quirk == pytest.approx(0.0015)


@pytest.mark.parametrize("compound", [aj.ChoppedTransferCompound, aj.DynamicTransferCompound])
def test_a_reset_that_would_be_ignored_is_refused(compound: type) -> None:
    compound(unit_cell_devices=pair(), with_reset_prob=0.5, reference_quirks=True)
    with pytest.raises(aj.ConfigError, match="with_reset_prob"):
        compound(unit_cell_devices=pair(), with_reset_prob=0.5)
