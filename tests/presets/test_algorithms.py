"""The configuration of an algorithm is the one that the reference builds (its values, read from it)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jax
import pytest

import aihwjax as aj
from aihwjax.presets.algorithms import ALGORITHMS
from aihwjax.reference import from_reference

RECORDED: dict[str, dict[str, Any]] = json.loads(
    gzip.decompress((Path(__file__).parent / "build_config.json.gz").read_bytes())
)
"""Algorithm and number of devices to the flat configuration of the reference for one device."""
DEVICE = aj.SoftBoundsDevice(dw_min=0.01)


@pytest.mark.parametrize("name", RECORDED)
def test_it_is_what_the_reference_builds(name: str) -> None:
    algorithm, count = name.split("/")
    ours = aj.build_config(algorithm, DEVICE, n_devices=int(count), construction_seed=7, reference_quirks=True)
    theirs = from_reference(RECORDED[name])
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert jax.tree.leaves(ours) == pytest.approx(jax.tree.leaves(theirs))


def test_every_name_and_its_other_names_build() -> None:
    for name in ALGORITHMS:
        assert aj.build_config(name.upper(), aj.ConstantStepDevice).device.resolved() is not None
    for name, others in (("tt", ("tiki-taka", "ttv1")), ("ttv3", ("c-ttv2", "chopped-ttv2")), ("agad", ("ttv4",))):
        for other in others:
            assert aj.build_config(name, DEVICE) == aj.build_config(other, DEVICE)


def test_converters_pulses_and_further_fields_arrive() -> None:
    io, pulses = aj.IOParameters(out_bound=7.0), aj.UpdateParameters(desired_bl=9, update_management=False)
    config = aj.build_config("ttv3", lambda: DEVICE, io, pulses, mapping=aj.MappingParameter(weight_scaling_omega=0.6))
    assert config.forward == config.backward == io
    assert config.device.transfer_forward.out_bound == 7.0  # type: ignore[attr-defined]
    assert (config.update.desired_bl, config.update.update_management) == (5, False)
    assert config.mapping.weight_scaling_omega == 0.6


def test_mistakes_are_one_line() -> None:
    for arguments, text in (
        (("agda", DEVICE), "algorithm='agda' is not known: give one of sgd, .*agad"),
        ((3, DEVICE), "algorithm=3 is not known"),
        (("sgd", 3), "device=3 is not allowed: give PulsedDevice"),
        (("sgd", aj.IdealDevice()), "give PulsedDevice"),
        (("sgd", DEVICE, DEVICE), "io_parameters=.* give IOParameters"),
        (("sgd", DEVICE, aj.IOParameters(), aj.UpdateParameters(), 0), "n_devices=0 is not allowed"),
    ):
        with pytest.raises(aj.ConfigError, match=text):
            aj.build_config(*arguments)  # type: ignore[arg-type]
    with pytest.raises(aj.ConfigError, match="forwrad"):
        aj.build_config("sgd", DEVICE, forwrad=1)
