"""Steps that refer to a bound of 0 are not defined: refused, but for the reference's own way (quirks)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax.devices.device import Device

REFUSED: dict[str, Device] = {
    "soft bounds, down": aj.SoftBoundsDevice(w_min=0.0),
    "soft bounds, up": aj.SoftBoundsDevice(w_max=0.0),
    "soft bounds, reversed": aj.SoftBoundsDevice(w_min=0.0, reverse_up=True, reverse_offset=0.0),
    "soft bounds with reference": aj.SoftBoundsReferenceDevice(w_max=0.0),
    "soft bounds by pulses": aj.SoftBoundsPmaxDevice(range_min=-1.0, range_max=0.0, p_max=float("inf")),
    "linear step": aj.LinearStepDevice(w_min=0.0, gamma_down=0.5),
    "in a cell": aj.VectorUnitCell(unit_cell_devices=[aj.ConstantStepDevice(), aj.SoftBoundsDevice(w_min=0.0)]),
    "inverted": aj.OneSidedUnitCell(unit_cell_devices=[aj.SoftBoundsDevice(w_min=0.0)], copy_inverted=True),
    "mixed precision": aj.MixedPrecisionCompound(device=aj.SoftBoundsDevice(w_min=0.0)),
    "one of a sweep": aj.SoftBoundsDevice(w_min=np.array([-0.6, 0.0])),
}
ALLOWED: dict[str, Device] = {
    "a constant step": aj.LinearStepDevice(w_min=0.0, gamma_down_dtod=0.0),
    "reversed": aj.SoftBoundsDevice(w_min=0.0, reverse_down=True),
    "never pulsed down": aj.OneSidedUnitCell(unit_cell_devices=[aj.SoftBoundsDevice(w_min=0.0)]),
    "no slope": aj.ConstantStepDevice(w_min=0.0),
    "exponential": aj.ExpStepDevice(w_min=0.0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(aj.ConfigError, match="SoftBoundsReferenceDevice"):
        aj.SingleRPUConfig(device=REFUSED[name])
    assert aj.SingleRPUConfig(device=REFUSED[name], reference_quirks=True).device.reference_quirks


@pytest.mark.parametrize("name", ALLOWED)
def test_where_no_step_refers_to_it(name: str) -> None:
    aj.SingleRPUConfig(device=ALLOWED[name])


def test_the_way_that_the_message_names() -> None:
    device = aj.SoftBoundsReferenceDevice(
        w_min=-0.5,
        w_max=0.5,
        reference_mean=-0.5,
        dw_min=0.01,
        dw_min_dtod=0,
        up_down_dtod=0,
        w_max_dtod=0,
        w_min_dtod=0,
    )
    config, key = aj.SingleRPUConfig(device=device), jax.random.key(0)
    state = aj.tile.init(config, key, (1, 1))
    steps = device.steps(state.device, device.internal(state.device, jnp.array([[0.0]])))
    assert float(steps.up[0, 0]) == pytest.approx(0.02, rel=1e-5), "the largest at the lower end of 0 to 1"
    assert float(steps.down[0, 0]) == pytest.approx(0.0, abs=1e-6)
