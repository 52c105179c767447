"""``aihwjax presets`` and presets in the files of experiments."""

from __future__ import annotations

import re

import pytest

from aihwjax import cli, nn, presets
from aihwjax import config as configs
from aihwjax.commands.presets import to_toml
from aihwjax.errors import AihwjaxError
from aihwjax.experiments import files
from tests.presets.table import EVERY, TRAINING, WEB

TILES = ("single device", "two devices", "tiki-taka", "ttv2", "agad", "mixed precision", "inference")
LAYERS = [
    {"class": "Flatten"},
    {"class": "AnalogLinear", "in_features": 4, "out_features": 3},
    {"class": "LogSoftmax"},
]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["presets", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def listed(text: str) -> list[str]:
    """Return the first word of each row of the table."""
    words = [line.split()[0] for line in text.splitlines() if line.split()]
    return [word for word in words if word in EVERY]


def test_all_are_listed_with_family_device_and_source(capsys) -> None:
    text = printed(capsys)
    assert sorted(listed(text)) == sorted(EVERY)
    row = next(line for line in text.splitlines() if line.split()[:1] == ["TikiTakaEcRamPreset"])
    assert row.split()[1:3] == ["tiki-taka", "LinearStepDevice"]
    assert "Gokmen and Haensch, Frontiers in Neuroscience 2020" in row


@pytest.mark.parametrize("columns", [80, 160])
def test_names_are_whole_in_a_narrow_terminal(capsys, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes the captured output for a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    text = re.sub(r"\x1b\[\d*m", "", printed(capsys))
    assert sorted(listed(text)) == sorted(EVERY)
    assert max(map(len, text.splitlines())) <= columns
    assert ("Gokmen and Haensch" in text) == (columns == 160)


FILTERS = [
    (["--family", "tiki-taka"], [name for name in TRAINING if name.startswith("TikiTaka")]),
    (["--family", "Web Composer"], list(WEB)),
    (["--family", "agad", "--device", "reram"], ["AGADReRamESPreset", "AGADReRamSBPreset"]),
    (["--device", "capacitor", "--family", "device"], ["CapacitorPresetDevice"]),
    (["--device", "ExpStep", "--family", "single device"], ["ReRamESPreset", "PCMPreset"]),
    (["hardware-aware", "--family", "inference"], ["StandardHWATrainingPreset"]),
    (["2302.08469"], ["StandardIOParameters", "StandardHWATrainingPreset"]),
    (["choppers", "--device", "idealized"], ["ChoppedTTv2IdealizedPreset", "AGADIdealizedPreset"]),
]


@pytest.mark.parametrize(("arguments", "names"), FILTERS, ids=[" ".join(row[0]) for row in FILTERS])
def test_filters(capsys, arguments: list[str], names: list[str]) -> None:
    assert sorted(listed(printed(capsys, *arguments))) == sorted(names)


def test_one_is_shown_in_full(capsys) -> None:
    text = printed(capsys, "TikiTakaReRamSBPreset")
    assert "Tiki-Taka (version 1) on ReRAM with soft bounds." in text
    assert "doi:10.3389/fnins.2020.00103" in text
    rows = {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}
    assert rows["device.class"] == ["TransferCompound"]
    assert rows["device.unit_cell_devices[0].w_max"] == ["1.25"]
    assert rows["device.unit_cell_devices[1]"] == ["the", "same", "as", "device.unit_cell_devices[0]"]
    assert rows["device.transfer_forward.noise_management"] == ["NONE"]
    assert "granularity 0.002, 1000 states, write noise 0.112" in text


@pytest.mark.parametrize("name", EVERY)
def test_each_is_shown(capsys, name: str) -> None:
    text = printed(capsys, name)
    assert text.startswith(name)
    assert "When to use: " in text
    assert ("states" in text.splitlines()[-1]) == (name in TRAINING or name.endswith(("PresetDevice", "UnitCell")))


@pytest.mark.parametrize("name", EVERY)
def test_toml_is_read_back(capsys, name: str) -> None:
    assert configs.from_toml(printed(capsys, name, "--toml")) == presets.by_name(name)()


@pytest.mark.parametrize("name", [family_names[0] for family_names in map(presets.names, TILES)])
def test_toml_goes_into_the_file_of_an_experiment(name: str) -> None:
    config = presets.by_name(name)()
    document = configs.read_toml(f'[experiment]\ndataset = "mnist10k"\n\n[tile]\n{to_toml(config)}')
    described = files.build({**document, "model": {"layers": LAYERS}})
    assert [tile.config.get_value() for tile in nn.analog_tiles(described.experiment.model).values()][:1] == [config]


def test_toml_leaves_defaults_out_but_not_those_of_the_class_around() -> None:
    assert to_toml(presets.EcRamPresetDevice()).splitlines()[0] == 'class = "LinearStepDevice"'
    assert "dw_min_std =" not in to_toml(presets.EcRamPresetDevice())
    config = presets.TTv2EcRamPreset()
    assert "transfer_update" not in to_toml(config)
    # 31 is the default of UpdateParameters, but not that of the compound's transfer
    longer = config.replace({"device.transfer_update.desired_bl": 31})
    assert "device.transfer_update.desired_bl = 31" in to_toml(longer).splitlines()
    assert configs.from_toml(to_toml(longer)) == longer


BAD = [
    (["TikiTakaEcRam", "--toml"], ["--toml needs the name of one preset", "did you mean 'TikiTakaEcRamPreset'?"]),
    (["--toml"], ["no preset was given"]),
    (["--family", "tiki"], ["family='tiki' is not a family", "tiki-taka"]),
    (["GokmanVlasovPreset"], ["no preset fits pattern 'GokmanVlasovPreset'", "did you mean 'GokmenVlasovPreset'?"]),
    (["--device", "xyzzy"], ["no preset fits --device 'xyzzy'"]),
    (["PCMPreset", "--family", "agad"], ["'PCMPreset' is one preset"]),
]


@pytest.mark.parametrize(("arguments", "parts"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_a_mistake_is_one_line(capsys, arguments: list[str], parts: list[str]) -> None:
    assert cli.main(["presets", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    for part in parts:
        assert part in captured.err


# ------------------------------------------------------------------------- in the file of an experiment
def tiles(*assignments: str, tile: dict[str, object], layer: dict[str, object] | None = None):
    layers = [LAYERS[0], {**LAYERS[1], **({} if layer is None else {"tile": layer})}, LAYERS[2]]
    document = {"experiment": {"dataset": "mnist10k"}, "tile": tile, "model": {"layers": layers}}
    described = files.build(files.assign(document, assignments))
    again = files.build(configs.read_toml(files.to_toml(described.resolved)))
    found = [
        next(tile.config.get_value() for tile in nn.analog_tiles(experiment.model).values())
        for experiment in (described.experiment, again.experiment)
    ]
    assert found[0] == found[1]
    return found[0]


def test_a_tile_is_named_by_its_preset() -> None:
    assert tiles(tile={"preset": "TikiTakaEcRamPreset"}) == presets.TikiTakaEcRamPreset()


def test_other_entries_change_the_preset() -> None:
    config = tiles(
        tile={"preset": "TikiTakaEcRamPreset", "reference_quirks": True, "update": {"desired_bl": 10}},
        layer={"device": {"transfer_every": 2.0}},
    )
    wanted = {"update.desired_bl": 10, "device.transfer_every": 2.0}
    assert config == presets.TikiTakaEcRamPreset(reference_quirks=True, **wanted)


def test_a_part_is_named_by_its_preset() -> None:
    config = tiles(tile={"device": {"preset": "ReRamSBPresetDevice", "dw_min": 0.01}})
    assert config.device == presets.ReRamSBPresetDevice(dw_min=0.01)
    cell = {"class": "VectorUnitCell", "unit_cell_devices": [{"preset": "EcRamPresetDevice", "w_max": 1}] * 2}
    assert tiles(tile={"device": cell}).device.unit_cell_devices == (presets.EcRamPresetDevice(w_max=1),) * 2


def test_a_preset_is_set_on_the_command_line() -> None:
    config = tiles("preset=GokmenVlasovPreset", "device.dw_min=0.01", tile={})
    assert config == presets.GokmenVlasovPreset(device=presets.GokmenVlasovPresetDevice(dw_min=0.01))


def test_a_layer_has_a_preset_of_its_own() -> None:
    layer = {"preset": "IdealizedPreset"}
    assert tiles(tile={"preset": "PCMPreset"}, layer=layer) == presets.IdealizedPreset()


BAD_FILES = [
    ({"preset": "TikiTakaEcRam"}, ["tile.preset='TikiTakaEcRam'", "did you mean 'TikiTakaEcRamPreset'?"]),
    ({"preset": "EcRamPresetDevice"}, ["tile.preset='EcRamPresetDevice' is no tile", "LinearStepDevice"]),
    ({"preset": "EcRamPreset", "class": "SingleRPUConfig"}, ["both class='SingleRPUConfig' and preset='EcRamPreset'"]),
    ({"preset": "EcRamPreset", "updat": {}}, ["tile.updat is not a field", "did you mean 'update'?"]),
    ({"device": {"preset": "PresetIOParameters"}}, ["device", "Device"]),
    ({"preset": 3}, ["tile.preset=3"]),
]


@pytest.mark.parametrize(("tile", "parts"), BAD_FILES, ids=[str(row[0])[:40] for row in BAD_FILES])
def test_a_mistake_in_a_file_is_one_line(tile: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(AihwjaxError) as caught:
        tiles(tile=tile)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)
