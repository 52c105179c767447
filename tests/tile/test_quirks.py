"""Each bug of the reference that concerns devices and updates: off by default, reproduced on request."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile
from tests.helpers import MODES

QUIET = {"dw_min_dtod": 0, "dw_min_std": 0, "up_down_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0}


def both(device: aj.devices.Device, **fields: object) -> dict[bool, aj.TileConfig]:
    return {quirks: aj.SingleRPUConfig(device=device, reference_quirks=quirks, **fields) for quirks in (False, True)}


def test_granularity_of_the_exponential_step() -> None:
    """Devices, bug 2: the reference averages the down step with itself."""
    configs = both(aj.ExpStepDevice(up_down=0.2))
    assert float(configs[True].device.weight_granularity()) == pytest.approx(0.00078674, rel=1e-4)
    up = 1 - 0.00081 * np.exp(12.44625 * 0.2425)
    down = 0.8 * (1 - 0.36833 * np.exp(-12.78785 * 0.2425))
    assert float(configs[False].device.weight_granularity()) == pytest.approx(0.001 * (up + down) / 2, rel=1e-5)


@pytest.mark.parametrize(("reference", "weight", "d", "lost"), [(0.3, 0.6, -1.0, -0.9), (-0.3, -0.6, 1.0, -0.3)])
@pytest.mark.parametrize("mode", MODES)
def test_power_reference_outside_its_bounds(
    reference: float, weight: float, d: float, lost: float, mode: aj.UpdateMode, key: jax.Array
) -> None:
    """Devices, bug 3: a weight beyond the bound of v = w + R turns into a NaN and then into the lower bound."""
    device = aj.PowStepReferenceDevice(**QUIET, pow_gamma=1.05, pow_gamma_dtod=0, reference_mean=reference)
    update = aj.UpdateParameters(pulse_type="DETERMINISTIC_IMPLICIT", desired_bl=1, update_bl_management=False)
    for quirks, config in both(device, update=update, update_mode=mode).items():
        state = tile.set_weights(config, tile.init(config, key, (1, 1)), jnp.full((1, 1), weight), key)
        rate = config.device.weight_granularity()
        after = float(tile.update(config, state, jnp.ones((1, 1)), jnp.full((1, 1), d), rate, key).weights[0, 0])
        # without the bug v is at its bound, where a step outwards has size 0
        assert after == pytest.approx(lost if quirks else np.sign(weight) * 0.6 - reference, abs=1e-5)


@pytest.mark.parametrize("kind", [aj.SoftBoundsReferenceDevice, aj.PowStepReferenceDevice])
def test_reset_bias_of_reference_devices(kind: type, key: jax.Array) -> None:
    """Devices, bug 4: reset leads to the symmetry point although that is already subtracted."""
    device = kind(**{**QUIET, "up_down_dtod": 0.0}, up_down=0.3, subtract_symmetry_point=True, reset_std=0.0)
    ends = {}
    for quirks, config in both(device).items():
        state = tile.init(config, key, (2, 2))
        point = float(tile.hidden_parameters(config, state)["reference"][0, 0])
        ends[quirks] = float(tile.reset(config, state, key=key).weights[0, 0]), point
    assert ends[False][0] == pytest.approx(0.0, abs=1e-6)
    assert ends[True][0] == pytest.approx(ends[True][1], abs=1e-5)
    assert abs(ends[True][1]) > 0.01


def test_offset_of_drift(key: jax.Array) -> None:
    """Devices, bug 9: the sign of the weight offset."""
    device = aj.ConstantStepDevice(**QUIET, drift=aj.DriftParameter(nu=0.1, w_offset=0.1))
    ends = {}
    for quirks, config in both(device).items():
        state = tile.set_weights(config, tile.init(config, key, (1, 1)), jnp.full((1, 1), 0.3), key)
        ends[quirks] = float(tile.drift(config, state, 10.0, key).weights[0, 0])
    factor = 10**-0.1
    assert ends[False] == pytest.approx(0.3 * factor - 0.1 * (factor - 1), abs=1e-6)
    assert ends[True] == pytest.approx(0.3 * factor + 0.1 * (factor - 1), abs=1e-6)


def test_conductance_dependent_drift_of_negative_weights(key: jax.Array) -> None:
    """Devices, bug 10: the logarithm of a negative conductance ends at the upper bound."""
    device = aj.ConstantStepDevice(**QUIET, drift=aj.DriftParameter(nu=0.1, nu_k=0.05))
    ends = {}
    for quirks, config in both(device).items():
        state = tile.set_weights(config, tile.init(config, key, (1, 1)), jnp.full((1, 1), -0.3), key)
        ends[quirks] = float(tile.drift(config, state, 10.0, key).weights[0, 0])
    assert ends[True] == pytest.approx(0.6, abs=1e-6)
    assert -0.3 < ends[False] < -0.15


def test_floating_point_step_with_write_noise(key: jax.Array) -> None:
    """Update, bug 3: with write noise and pulse type NONE_WITH_DEVICE the reference learns nothing."""
    device = aj.SoftBoundsDevice(**QUIET, write_noise_std=0.1)
    update = aj.UpdateParameters(pulse_type="NONE_WITH_DEVICE")
    moved = {}
    for quirks, config in both(device, update=update).items():
        state = tile.set_weights(config, tile.init(config, key, (3, 4)), jnp.zeros((3, 4)), key)
        new = tile.update(config, state, jnp.ones((2, 4)), -jnp.ones((2, 3)), 0.1, key)
        moved[quirks] = float(new.device.persistent.mean())
    assert moved[False] == pytest.approx(0.2, abs=1e-6)
    assert moved[True] == pytest.approx(0.0, abs=1e-6)
