"""Configurations as text."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

import aihwjax as aj
from aihwjax import presets
from tests.compounds.table import COMPOUNDS


def test_what_differs_from_the_defaults_is_shown() -> None:
    config = aj.SingleRPUConfig(device=aj.SoftBoundsDevice(dw_min=0.01), update_mode=aj.UpdateMode.SEQUENTIAL)
    assert repr(config) == ("TileConfig(device=SoftBoundsDevice(dw_min=0.01), update_mode=UpdateMode.SEQUENTIAL)")
    assert str(config) == repr(config)
    assert repr(aj.IOParameters()) == "IOParameters()"
    assert "[0.1" in repr(aj.SoftBoundsDevice(dw_min=jnp.array([0.1, 0.2])))


@pytest.mark.parametrize("name", presets.names())
def test_the_text_of_a_preset_makes_it_again(name: str) -> None:
    config = presets.by_name(name)()
    text = repr(config)
    assert eval(text, dict(vars(aj)) | {name: getattr(aj, name) for name in dir(aj)}) == config
    assert len(text) < 1500


@pytest.mark.parametrize("name", COMPOUNDS)
def test_the_whole_has_every_field(name: str) -> None:
    device = COMPOUNDS[name]
    names = {name: getattr(aj, name) for name in dir(aj)}
    assert eval(aj.config.whole(device), names) == device
    assert "construction_seed=" in aj.config.whole(device)
