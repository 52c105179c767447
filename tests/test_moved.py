"""People who come from aihwkit are told in one line what is here in the place of what they look for."""

from __future__ import annotations

import dataclasses

import pytest

import aihwjax as aj
from aihwjax import moved


@pytest.mark.parametrize("name", moved.NAMES)
def test_a_name_of_the_reference_says_where_it_is(name: str) -> None:
    with pytest.raises(AttributeError, match="module 'aihwjax' has no attribute") as caught:
        getattr(aj, name)
    assert moved.NAMES[name] in str(caught.value)
    assert not hasattr(aj, name)


def test_what_is_named_instead_is_there() -> None:
    assert aj.analog_sgd and aj.optim.AnalogSGD and aj.nn.AnalogLinear and aj.nn.AnalogTile and aj.LocalRunner
    assert aj.config.from_toml and aj.experiments.save and aj.experiments.load and aj.tile.remap
    with pytest.raises(AttributeError, match="No aihwjax attribute nothing"):
        aj.nothing  # noqa: B018


def test_a_configuration_says_how_to_change_it() -> None:
    config = aj.SingleRPUConfig(device=aj.ConstantStepDevice())
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"config.replace\(\{'dw_min': 0.1\}\)"):
        config.device.dw_min = 0.1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="does not change"):
        del config.device  # type: ignore[misc]
    assert config.device == aj.ConstantStepDevice()
