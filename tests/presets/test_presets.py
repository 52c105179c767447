"""Every preset has the reference's values, field by field."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

import aihwjax as aj
from aihwjax import config as configs
from aihwjax import presets
from aihwjax.errors import ConfigError
from aihwjax.presets import registry
from aihwjax.presets.facts import differing, facts, kind
from aihwjax.reference import PRESET_DEVICES, PRESET_PARTS, from_reference
from aihwjax.tile import config as tile_config
from tests.presets.table import COUNTS, DEFAULTS, DERIVED, EVERY, INFERENCE, TABLES, TRAINING, WEB


def default_of(name: str):
    """Return the document of a class, or of a tile configuration function, without arguments."""
    function = getattr(tile_config, name, None)
    return configs.default_dict(configs.registered(name)) if function is None else configs.to_dict(function())


def expanded(row: Mapping[str, object]):
    """Return the document that a row of the table describes: its class's defaults, changed."""
    document = default_of(str(row["class"]))
    for path, value in row.items():
        if path == "class":
            continue
        *groups, name = path.split(".")
        place = at(document, ".".join(groups)) if groups else document
        fields = configs.registered(place["class"]).__dataclass_fields__  # type: ignore[attr-defined]
        assert name in fields, f"{row['class']} has no field {path}"
        place[name] = nested(value)
    return document


def nested(value: object):
    if isinstance(value, Mapping):
        return expanded(value)
    return [nested(entry) for entry in value] if isinstance(value, list) else value


def at(document, path: str):
    for name in path.split("."):
        document = document[name]
    return document


@pytest.mark.parametrize("name", EVERY)
def test_fields_are_those_of_the_table_and_all_others_are_defaults(name: str) -> None:
    assert configs.to_dict(presets.by_name(name)()) == expanded(EVERY[name])


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_those_of_the_reference(name: str) -> None:
    document = default_of(name)
    for path, value in DEFAULTS[name].items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        assert at(document, path) == (pytest.approx(value, rel=1e-12) if number else value), path


def test_there_are_as_many_as_in_the_reference() -> None:
    assert {module: len(table) for module, table in TABLES.items()} == COUNTS
    assert sorted(presets.names()) == sorted(EVERY)
    assert len(EVERY) == len(presets.names()) == 75


def test_all_but_those_of_the_web_composer_are_public() -> None:
    public = [name for name in presets.__all__ if name in EVERY]
    assert len(public) == 68
    assert set(EVERY) - set(public) == set(WEB)
    assert {name for name in vars(presets.web) if name in EVERY} == set(WEB) | {"WebComposerIOParameters"}
    assert set(TRAINING) == set(importlib.import_module("aihwjax.presets.configs").__all__)
    assert presets.__all__ == sorted(presets.__all__)


def test_families_have_their_sizes() -> None:
    counts = [len(presets.names(family)) for family in ("single device", "two devices", "four devices", "tiki-taka")]
    counts += [len(presets.names(family)) for family in ("ttv2", "chopped ttv2", "agad", "mixed precision")]
    assert counts == [8, 6, 6, 6, 6, 6, 6, 8]
    assert presets.names("Tiki_Taka") == presets.names("tiki-taka")


# pinned fields: section, path, value
PINNED = [
    ("PresetIOParameters", "bound_management", "ITERATIVE"),
    ("PresetIOParameters", "noise_management", "ABS_MAX"),
    ("PresetIOParameters", "inp_res", 1 / (2**7 - 2)),
    ("PresetIOParameters", "out_res", 1 / (2**9 - 2)),
    ("StandardIOParameters", "w_noise_type", "NONE"),
    ("PresetUpdateParameters", "desired_bl", 31),
    ("PresetUpdateParameters", "update_bl_management", True),
    ("ReRamESPresetDevice", "w_max_dtod", 0.3),
    ("ReRamSBPresetDevice", "subtract_symmetry_point", False),
    ("CapacitorPresetDevice", "mean_bound_reference", True),
    ("EcRamPresetDevice", "gamma_up_dtod", 0.05),
    ("PCMPresetDevice", "reset_std", 0.01),
    ("ReRamArrayOMPresetDevice", "corrupt_devices_prob", 0),
    ("PCMPresetUnitCell", "units_in_mbatch", True),
    ("PCMPresetUnitCell", "refresh_upper_thres", 0.75),
    ("TikiTakaReRamSBPreset", "device.transfer_every", 1.0),
    ("TikiTakaEcRamPreset", "device.units_in_mbatch", True),
    ("TTv2ReRamESPreset", "device.units_in_mbatch", False),
    ("ChoppedTTv2EcRamPreset", "device.in_chop_random", True),
    ("ChoppedTTv2EcRamPreset", "device.fast_lr", 1.0),
    ("AGADEcRamPreset", "device.in_chop_random", False),
    ("AGADEcRamPreset", "update.desired_bl", 31),
    ("AGADEcRamPreset", "device.auto_granularity", 750),
    ("MixedPrecisionPCMPreset", "device.device.refresh_every", 1),
    ("FloatingPointPreset", "pre_post.input_range.enable", False),
    ("FloatingPointPreset", "backward.is_perfect", True),
    ("StandardHWATrainingPreset", "mapping.max_input_size", 512),
    ("StandardHWATrainingPreset", "remap.remapped_wmax", 1.0),
    ("StandardHWATrainingPreset", "pre_post.input_range.init_from_data", 100),
    ("StandardHWATrainingPreset", "modifier.type", "NONE"),
    ("StandardHWATrainingPreset", "backward.is_perfect", True),
    ("StandardHWATrainingPreset", "device.class", "IdealDevice"),
]


@pytest.mark.parametrize(("name", "path", "value"), PINNED, ids=[f"{name}.{path}" for name, path, _ in PINNED])
def test_pinned_fields(name: str, path: str, value: object) -> None:
    assert at(configs.to_dict(presets.by_name(name)()), path) == value


@pytest.mark.parametrize("name", DERIVED)
def test_derived_numbers(name: str) -> None:
    config = presets.by_name(name)(reference_quirks=True)
    # a cell hands the quirks down only when a tile tells it; its device is asked here
    if name == "PCMPresetUnitCell":
        config = presets.PCMPreset(reference_quirks=True)
    numbers = facts(config)
    assert numbers is not None
    assert (numbers.granularity, numbers.states, numbers.write_noise) == pytest.approx(DERIVED[name], rel=1e-3)


def test_without_quirks_the_granularity_of_exponential_steps_is_the_mean_of_both_directions() -> None:
    numbers = facts(presets.PCMPresetDevice())
    assert numbers is not None
    assert numbers.granularity == pytest.approx((0.28235 + 0.03235) / 2, rel=1e-3)


@pytest.mark.parametrize("name", EVERY)
def test_docstring_says_when_to_use_it_and_gives_a_source(name: str) -> None:
    entry = registry.find(name)
    assert len(entry.summary) > 15 and entry.summary.endswith(".")
    assert "When to use: " in entry.text
    assert re.search(r"\b20\d\d\b", entry.short_citation), entry.short_citation
    assert re.search(r"doi:10\.\d+/\S+|arXiv:\d+\.\d+|IEEE \d+", entry.citation)
    assert inspect.signature(entry.build).parameters["fields"].kind is inspect.Parameter.VAR_KEYWORD


def test_docstrings_are_their_own() -> None:
    texts = [registry.find(name).text for name in EVERY]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ChoppedTTv2EcRamPreset", "ten times that of its siblings"),
        ("AGADEcRamPreset", "differ from the 100 and 500 of its siblings"),
        ("GokmenVlasovPresetDevice", "1250"),
        ("PCMPresetUnitCell", "no effect"),
    ],
)
def test_oddities_are_named(name: str, text: str) -> None:
    assert text in " ".join(registry.find(name).text.split())


def test_fields_are_replaced_by_keyword() -> None:
    device = presets.ReRamSBPresetDevice(subtract_symmetry_point=True, dw_min=1)
    assert configs.difference(presets.ReRamSBPresetDevice(), device) == [
        "dw_min: 0.002 -> 1.0",
        "subtract_symmetry_point: False -> True",
    ]
    config = presets.GokmenVlasovPreset(device=aj.SoftBoundsDevice(), update=aj.UpdateParameters(desired_bl=3))
    assert isinstance(config.device, aj.SoftBoundsDevice)
    assert config.update.desired_bl == 3
    assert config.forward == presets.PresetIOParameters()


def test_a_dotted_path_is_replaced_too() -> None:
    config = presets.TikiTakaEcRamPreset(**{"device.transfer_every": 2.0})
    assert config.device.transfer_every == 2.0
    assert config.device.transfer_forward.out_noise == 0.1


@pytest.mark.parametrize("name", [*TRAINING, *INFERENCE])
def test_quirks_reach_the_device(name: str) -> None:
    config = presets.by_name(name)(reference_quirks=True)
    assert config.reference_quirks
    assert config.device.reference_quirks


@pytest.mark.parametrize("name", EVERY)
def test_an_unknown_keyword_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="has no field 'no_such_field'"):
        presets.by_name(name)(no_such_field=1)


def test_mistakes_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="SoftBoundsReferenceDevice has no field 'dw_mni'; did you mean 'dw_min'"):
        presets.ReRamSBPresetDevice(dw_mni=1)
    with pytest.raises(ConfigError, match="no preset 'TikiTakaEcRam'; did you mean 'TikiTakaEcRamPreset'"):
        presets.by_name("TikiTakaEcRam")
    with pytest.raises(ConfigError, match="family='tikitak' is not a family.*did you mean 'tiki-taka'"):
        presets.names("tikitak")
    with pytest.raises(ConfigError, match="dw_min=-1"):
        presets.EcRamPresetDevice(dw_min=-1)


@pytest.mark.parametrize("name", EVERY)
def test_toml_and_json_round_trip(name: str) -> None:
    config = presets.by_name(name)()
    assert configs.from_toml(configs.to_toml(config)) == config
    assert configs.from_json(configs.to_json(config)) == config


def test_differing_lists_what_the_table_lists() -> None:
    row = EVERY["ReRamESPresetDevice"]
    assert differing(presets.ReRamESPresetDevice()) == {name: row[name] for name in row if name != "class"}
    fields = differing(presets.TikiTakaReRamSBPreset())
    assert fields["device.class"] == "TransferCompound"
    assert fields["device.unit_cell_devices[1].class"] == "SoftBoundsReferenceDevice"
    assert fields["device.unit_cell_devices[1].subtract_symmetry_point"] is True
    assert fields["backward.out_bound"] == 20.0
    assert not any(path.startswith(("update", "mapping", "pre_post")) for path in fields)


def test_kinds() -> None:
    found = {name: kind(presets.by_name(name)()) for name in ("PCMPreset", "PCMPresetUnitCell", "PresetIOParameters")}
    assert found == {"PCMPreset": "tile", "PCMPresetUnitCell": "device", "PresetIOParameters": "parameters"}


def test_the_table_of_the_documentation_is_right() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "presets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`(\w+PresetDevice)`\].*?\| [a-z ]+ \| (.*?) \| [A-Z][^|]* \|$", text, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(TABLES["devices"])
    for name, cells in rows:
        device = presets.by_name(name)()
        numbers = facts(device)
        assert numbers is not None
        shown = [float(cell) for cell in cells.split(" | ")]
        wanted = [device.dw_min, numbers.granularity, numbers.states, numbers.write_noise]
        assert shown == pytest.approx(wanted, rel=0.01 if numbers.states > 100 else 0.08), name


def test_names_of_the_flat_dictionaries_are_presets() -> None:
    for table in (PRESET_DEVICES, PRESET_PARTS):
        for name, cls in table.items():
            assert type(presets.by_name(name)()).__name__ == cls
    assert set(PRESET_DEVICES) == set(TABLES["devices"])
    assert set(PRESET_PARTS) == set(TABLES["parameters"])
    for name in TRAINING:
        flat = {"__class__": name, "device.__class__": "ConstantStepDevice"}
        assert from_reference(flat).reference_quirks


@pytest.mark.parametrize("name", [*INFERENCE, "WebComposerInferenceRPUConfig"])
def test_presets_of_inference_tiles_come_with_the_chip_of_the_reference(name: str) -> None:
    config = presets.by_name(name)()
    assert config.noise_model == aj.PCMLikeNoiseModel(g_max=25.0, t_0=20.0, t_read=250e-9)
    assert config.drift_compensation == aj.GlobalDriftCompensation()
