"""``aihwjax plot``: files of every kind, and one-line errors."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from aihwjax import cli
from tests.marks import some

TILE = """
[tile]
class = "SingleRPUConfig"

[tile.device]
class = "SoftBoundsDevice"
dw_min = 0.05
"""

COMMANDS = [
    ["device", "--pulses", "10"],
    ["pulse-response", "--pulses", "10", "--cycles", "1", "--crosspoints", "16"],
    ["step-size", "--crosspoints", "16"],
    ["symmetry-point", "--pairs", "10", "--crosspoints", "16"],
    ["weights", "--updates", "10", "--crosspoints", "2"],
    ["mvm-error", "--in-size", "16", "--vectors", "8"],
]


CHIP = """
[tile]
class = "InferenceRPUConfig"

[tile.forward]
is_perfect = true

[tile.noise_model]
class = "HermesNoiseModel"
"""

CHIPS = [
    ["programming-error"],
    ["conductance-error", "--set", "noise_model.num_devices=1"],
    ["weight-drift", "--crosspoints", "4", "--time", "0", "--time", "1e6"],
    ["accuracy-over-time", "--chips", "1", "--hidden", "4", "--epochs", "1", "--time", "1"],
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tile.toml").write_text(TILE)
    (tmp_path / "chip.toml").write_text(CHIP)
    line = {"epoch": 0, "accuracy": 0.5, "train_loss": 1.0, "valid_loss": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line))
    return tmp_path


@pytest.mark.parametrize("command", some(COMMANDS, COMMANDS[:2]), ids=lambda command: command[0])
def test_every_figure_is_written(command: list[str], folder: Path) -> None:
    name, *options = command
    assert cli.main(["plot", name, "tile.toml", "-o", "deep/figure.svg", *options]) == 0
    text = (folder / "deep" / "figure.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "tile" in text


@pytest.mark.parametrize("command", some(CHIPS, CHIPS[1:2]), ids=lambda command: command[0])
def test_every_figure_of_chips_is_written(command: list[str], folder: Path) -> None:
    name, *options = command
    assert cli.main(["plot", name, "chip.toml", "-o", "figure.svg", *options]) == 0
    assert "chip" in (folder / "figure.svg").read_text()


def test_a_noise_model_by_its_name(folder: Path) -> None:
    changed = ["--set", "noise_model.prog_noise_scale=0.0"]
    for name, more in (("a", []), ("b", changed)):
        assert cli.main(["plot", "conductance-error", "PCMLikeNoiseModel", "-o", f"{name}.svg", *more]) == 0
    assert "PCMLikeNoiseModel" in (folder / "a.svg").read_text()
    assert (folder / "a.svg").read_bytes() != (folder / "b.svg").read_bytes()


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_suffix_chooses_the_format(suffix: str, start: bytes, folder: Path) -> None:
    assert cli.main(["plot", "learning-curve", ".", "metrics.jsonl", "--output", f"curve.{suffix}"]) == 0
    assert (folder / f"curve.{suffix}").read_bytes().startswith(start)


def test_changes_and_key_reach_the_figure(folder: Path) -> None:
    base = ["plot", "pulse-response", "tile.toml", "--pulses", "5", "--crosspoints", "8"]
    for name, more in (("a", []), ("b", []), ("c", ["--key", "1"]), ("d", ["--set", "device.dw_min=0.02"])):
        assert cli.main([*base, "-o", f"{name}.svg", *more]) == 0
    texts = {name: (folder / f"{name}.svg").read_bytes() for name in "abcd"}
    assert texts["a"] == texts["b"]
    assert len(set(texts.values())) == 3


def test_a_preset_by_its_name(folder: Path) -> None:
    options = ["--pulses", "5", "--crosspoints", "8", "--set", "device.dw_min=0.01"]
    assert cli.main(["plot", "pulse-response", "EcRamPresetDevice", "-o", "a.svg", *options]) == 0
    assert "EcRamPresetDevice" in (folder / "a.svg").read_text()
    assert cli.main(["plot", "mvm-error", "StandardIOParameters", "-o", "b.png", "--vectors", "4"]) == 0


def test_a_class_of_devices_by_its_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--pulses", "5", "--crosspoints", "8", "--set", "device.dw_min=0.01"]
    assert cli.main(["plot", "pulse-response", "SoftBoundsDevice", "-o", "a.svg", *options]) == 0
    assert "SoftBoundsDevice" in (folder / "a.svg").read_text()
    assert capsys.readouterr().out == "wrote a.svg\n"


@pytest.mark.parametrize("name", ["SoftBoundsDevice", "EcRamPresetDevice"])
def test_a_device_without_converters_says_whose_are_drawn(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "default converters of a tile"
    assert cli.main(["plot", "mvm-error", name, "-o", "a.svg", "--in-size", "16", "--vectors", "8"]) == 0
    assert f"{name}, {said}" in (folder / "a.svg").read_text()
    assert said in capsys.readouterr().out
    assert cli.main(["plot", "mvm-error", "tile.toml", "-o", "b.svg", "--in-size", "16", "--vectors", "8"]) == 0
    assert said not in (folder / "b.svg").read_text() + capsys.readouterr().out


BAD = [
    (["step-size", "SoftBoundDevice", "-o", "a.png"], ["preset or device", "did you mean 'SoftBoundsDevice'?"]),
    (["device", "tile.toml"], ["--output"]),
    (["device", "tile.toml", "-o", "a.gif"], ["a.gif", ".png, .svg, .pdf"]),
    (["devise", "tile.toml", "-o", "a.png"], ['"devise"', 'Did you mean "device"?']),
    (["step-size", "nope.toml", "-o", "a.png"], ["nope.toml", "No such file"]),
    (["step-size", "EcRamPresetDevise", "-o", "a.png"], ["EcRamPresetDevise", "did you mean 'EcRamPresetDevice'?"]),
    (["step-size", "PresetUpdateParameters", "-o", "a.png"], ["cannot be drawn", "UpdateParameters"]),
    (["step-size", "tile.toml", "-o", "a.png", "--set", "device.dw_mi=1"], ["dw_mi", "did you mean 'dw_min'?"]),
    (["step-size", "tile.toml", "-o", "a.png", "--crosspoints", "0"], ["crosspoints=0"]),
    (["weights", "tile.toml", "-o", "a.png", "--learning-rate", "nan"], ["learning_rate=nan"]),
    (["pulse-response", "tile.toml", "-o", "a.png", "--pulses", f"{10**15}"], ["there is not enough memory"]),
    (["learning-curve", "-o", "a.png"], ["there is no run"]),
    (["weight-drift", "tile.toml", "-o", "a.png"], ["noise_model=None is not allowed for a chip"]),
    (["weight-drift", "chip.toml", "-o", "a.png", "--time", "5", "--time", "1"], ["times with 1 after 5"]),
    (["weight-drift", "EcRamPresetDevice", "-o", "a.png"], ["EcRamPresetDevice", "give a noise model"]),
    (["programming-error", "HermesNoisModel", "-o", "a.png"], ["did you mean 'HermesNoiseModel'?"]),
    (["conductance-error", "tile.toml", "-o", "a.gif"], ["a.gif", ".png, .svg, .pdf"]),
    (["learning-curve", "nowhere", "-o", "a.png"], ["nowhere", "No such file"]),
]


@pytest.mark.parametrize(("arguments", "parts"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert cli.main(["plot", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("aihwjax: ")
    for part in parts:
        assert part in captured.err
    assert not (folder / "a.png").exists()
