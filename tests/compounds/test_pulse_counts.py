"""Every device of a compound counts its own pulses: those of the mini-batches and those that are written."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.devices.device import Device
from tests.compounds.table import COMPOUNDS
from tests.marks import exhaustive, slow, some

KEY = jax.random.key(5)
STEP = 2.0**-10
OUT, IN = 4, 6
_init = jax.jit(aj.tile.init, static_argnames="shape")
_set_weights = jax.jit(aj.tile.set_weights)
_update = jax.jit(aj.tile.update)


def steady(**fields: object) -> aj.ConstantStepDevice:
    """A device of equal steps without noise, whose bounds are out of reach."""
    equal = {"dw_min_dtod": 0, "dw_min_std": 0, "up_down_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0}
    return aj.ConstantStepDevice(
        **{"dw_min": STEP, "count_pulses": True, "w_max": 100.0, "w_min": -100.0, **equal, **fields}  # type: ignore[arg-type]
    )


def batch(seed: int, n: int = 7) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(seed))
    return jax.random.normal(keys[0], (n, IN)), jax.random.normal(keys[1], (n, OUT))


def trained(
    device: Device, mode: str = "AGGREGATED", pulse_type: str = "STOCHASTIC_COMPRESSED"
) -> dict[str, np.ndarray]:
    """Hidden parameters after four mini-batches from zero weights, with the visible ones and the sums of the counts."""
    pulses = aj.UpdateParameters(pulse_type=pulse_type)
    config = aj.TileConfig(device=device, update=pulses, update_mode=mode)
    state = _set_weights(config, _init(config, KEY, shape=(OUT, IN)), jnp.zeros((OUT, IN)), KEY)
    for k in range(4):
        state = _update(config, state, *batch(k), 0.1, jax.random.fold_in(KEY, k))
    counts = aj.tile.pulse_counts(config, state)
    hidden = {"weights": state.weights, **aj.tile.hidden_parameters(config, state)}
    return {name: np.asarray(value) for name, value in {**hidden, "up": counts.up, "down": counts.down}.items()}


def displaced(hidden: dict[str, np.ndarray], suffix: str) -> np.ndarray:
    return STEP * (hidden[f"up_pulses{suffix}"] - hidden[f"down_pulses{suffix}"])


PAIR = (steady(), steady())
FEW = {"transfer_every": 0.4, "gamma": 0.2}
CELLS: dict[str, Device] = {
    "vector": aj.VectorUnitCell(unit_cell_devices=PAIR),
    "vector, in turn": aj.VectorUnitCell(unit_cell_devices=PAIR, update_policy="SINGLE_SEQUENTIAL"),
    "one-sided": aj.OneSidedUnitCell(unit_cell_devices=PAIR),
    "transfer": aj.TransferCompound(unit_cell_devices=PAIR, **FEW),
    "transfer, hidden": aj.TransferCompound(unit_cell_devices=PAIR, transfer_every=1, units_in_mbatch=False),
    "transfer of three": aj.TransferCompound(unit_cell_devices=(steady(), steady(), steady()), **FEW),
    "transfer by rows": aj.TransferCompound(unit_cell_devices=PAIR, transfer_columns=False, n_reads_per_transfer=3),
    "buffered": aj.BufferedTransferCompound(unit_cell_devices=PAIR, **FEW),
    "chopped": aj.ChoppedTransferCompound(
        unit_cell_devices=PAIR, transfer_every=1, units_in_mbatch=False, in_chop_prob=0.3, out_chop_prob=0.5, gamma=0.1
    ),
    "dynamic": aj.DynamicTransferCompound(unit_cell_devices=PAIR, transfer_every=1, units_in_mbatch=False),
    "transfer of a cell": aj.TransferCompound(
        unit_cell_devices=(aj.VectorUnitCell(unit_cell_devices=PAIR), steady()), **FEW
    ),
}
COUNTED = ("one-sided", "transfer, hidden", "transfer by rows", "dynamic", "transfer of a cell")


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("chopped", "AGGREGATED"),
        *(slow(name, "AGGREGATED") for name in COUNTED),
        slow("transfer", "SEQUENTIAL"),
        *(exhaustive(name, "AGGREGATED") for name in CELLS if name not in ("chopped", *COUNTED)),
        *(exhaustive(name, "SEQUENTIAL") for name in ("vector", "chopped")),
    ],
)
def test_each_device_moves_by_what_it_counts(name: str, mode: str) -> None:
    hidden = trained(CELLS[name], mode)
    suffixes = [key.removeprefix("up_pulses") for key in hidden if key.startswith("up_pulses")]
    assert len(suffixes) >= 2
    for suffix in suffixes:
        np.testing.assert_array_equal(displaced(hidden, suffix), hidden[f"hidden_weights{suffix}"], err_msg=suffix)
    assert hidden["up_pulses_0" if name != "transfer of a cell" else "up_pulses_0_0"].any()
    for way in ("up", "down"):
        total = sum(hidden[f"{way}_pulses{suffix}"] for suffix in suffixes)
        np.testing.assert_array_equal(hidden[way], total)


@pytest.mark.parametrize("pulse_type", ["MEAN_COUNT", "DETERMINISTIC_IMPLICIT"])
@pytest.mark.parametrize("name", some(["one-sided", "chopped"], ["one-sided"]))
def test_pulses_whose_numbers_are_computed(name: str, pulse_type: str) -> None:
    hidden = trained(CELLS[name], pulse_type=pulse_type)
    for k in range(2):
        np.testing.assert_array_equal(displaced(hidden, f"_{k}"), hidden[f"hidden_weights_{k}"])


def test_both_devices_of_a_transfer_count() -> None:
    hidden = trained(CELLS["transfer"])
    assert hidden["up_pulses_0"].sum() + hidden["down_pulses_0"].sum() > 100
    assert hidden["up_pulses_1"].sum() + hidden["down_pulses_1"].sum() > 0


def test_a_one_sided_pair_is_only_pulsed_up() -> None:
    hidden = trained(CELLS["one-sided"])
    assert hidden["up_pulses_0"].any()
    assert hidden["up_pulses_1"].any()
    assert not hidden["down"].any()


@pytest.mark.parametrize("pulse_type", ["STOCHASTIC_COMPRESSED", "MEAN_COUNT"])
def test_mixed_precision_counts_what_it_writes(pulse_type: str) -> None:
    hidden = trained(aj.MixedPrecisionCompound(device=steady()), pulse_type=pulse_type)
    assert hidden["up"].any()
    np.testing.assert_array_equal(displaced(hidden, ""), hidden["weights"])


def test_a_refresh_counts_its_writes() -> None:
    pair = (steady(w_max=0.5), steady(w_max=0.5))
    rare, often = (aj.OneSidedUnitCell(
        unit_cell_devices=pair, refresh_every=every, refresh_upper_thres=0.01, refresh_lower_thres=0.001
    ) for every in (0, 1))  # fmt: skip
    assert trained(often)["up"].sum() > trained(rare)["up"].sum()


@pytest.mark.parametrize(
    "name",
    some(["one-sided", "chopped", "vector", "transfer"], ()),
)
def test_counting_changes_no_number(name: str) -> None:
    def counting(device: Device) -> Device:
        if isinstance(device, aj.MixedPrecisionCompound):
            return device.replace(device=counting(device.device))
        if isinstance(device, aj.UnitCell):
            return device.replace(unit_cell_devices=tuple(counting(each) for each in device.unit_cell_devices))
        return device.replace(count_pulses=True)

    plain, counted = (aj.TileConfig(device=device) for device in (COMPOUNDS[name], counting(COMPOUNDS[name])))
    states = []
    for config in (plain, counted):
        state = _init(config, KEY, shape=(OUT, IN))
        for k in range(2):
            state = _update(config, state, *batch(k), 0.1, jax.random.fold_in(KEY, k))
        states.append(state)
    np.testing.assert_array_equal(states[0].weights, states[1].weights)
    hidden = aj.tile.hidden_parameters(counted, states[1])
    for key, value in aj.tile.hidden_parameters(plain, states[0]).items():
        np.testing.assert_array_equal(value, hidden[key], err_msg=key)


def test_a_compound_that_is_not_counted_says_what_to_set() -> None:
    config = aj.TileConfig(device=COMPOUNDS["transfer"])
    with pytest.raises(aj.ConfigError, match=r"device\.unit_cell_devices\.0\.count_pulses is False"):
        aj.tile.pulse_counts(config, _init(config, KEY, shape=(OUT, IN)))
