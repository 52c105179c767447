"""Compiled programs outlive the process, where that is wanted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

import aihwjax as aj
from aihwjax import cli, compiling
from aihwjax.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
TRAIN = """
import collections, json, sys
import jax
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.rpartition("/")[2]]))
from aihwjax import cli
code = cli.main(["train", *sys.argv[1:]])
print(json.dumps({"code": code, "folder": jax.config.jax_compilation_cache_dir, **counts}))
"""
EXPERIMENT = """
[experiment]
dataset = "mnist10k"
max_elements_train = 64
epochs = 2
key = 3

[tile]
class = "SingleRPUConfig"

[tile.device]
class = "ConstantStepDevice"

[model]
layers = [
    { class = "Flatten" },
    { class = "AnalogLinear", in_features = 784, out_features = 10 },
    { class = "LogSoftmax" },
]
"""


def trained(folder: Path, turn: int, **variables: str) -> tuple[dict[str, Any], str]:
    """Train by the command in a process of its own; return what JAX did, and the metrics without their times."""
    (folder / "experiment.toml").write_text(EXPERIMENT)
    output = folder / f"run{turn}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **variables}
    words = [sys.executable, "-c", TRAIN, str(folder / "experiment.toml"), "--output", str(output), "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    metrics = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["code"] == 0
    return counts, repr([{**entry, "time_epoch": 0} for entry in metrics])


def test_the_second_command_compiles_nothing_and_learns_the_same(tmp_path: Path) -> None:
    chosen = {"AIHWJAX_COMPILE_CACHE": str(tmp_path / "programs")}
    first, learned = trained(tmp_path, 1, **chosen)
    second, again = trained(tmp_path, 2, **chosen)
    assert Path(first["folder"]).parent == tmp_path / "programs"
    assert first["cache_misses"] > 5
    assert second.get("cache_misses", 0) == 0
    assert second["cache_hits"] == second["compile_requests_use_cache"] >= first["cache_misses"]
    assert learned == again


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """JAX without a cache; the run's own comes back afterwards."""
    names = (
        "jax_compilation_cache_dir",
        "jax_compilation_cache_max_size",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv(compiling.SWITCH, raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("settings")
class TestSwitch:
    def test_a_named_folder_is_used(self, tmp_path: Path) -> None:
        place = aj.compile_cache(tmp_path / "programs", megabytes=3)
        assert place == tmp_path / "programs" / compiling.kind(jax.__version__)
        assert place.is_dir()
        assert jax.config.jax_compilation_cache_dir == str(place)
        assert jax.config.jax_compilation_cache_max_size == 3 * 2**20

    def test_the_users_own_cache_stays(self, tmp_path: Path) -> None:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
        size = jax.config.jax_compilation_cache_max_size
        assert aj.compile_cache(tmp_path / "other") == tmp_path / "own"
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
        assert jax.config.jax_compilation_cache_max_size == size
        assert not (tmp_path / "other").exists()

    def test_the_default_is_in_the_users_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "user"))
        place = aj.compile_cache()
        assert place is not None
        assert place.parent == tmp_path / "user" / "programs"

    @pytest.mark.parametrize("word", ["off", "OFF", "0", "no", "false"])
    def test_the_variable_turns_it_off(self, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(compiling.SWITCH, word)
        assert aj.compile_cache() is None
        assert jax.config.jax_compilation_cache_dir is None

    def test_commands_keep_programs_unless_told_not_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "user"))
        monkeypatch.setenv(compiling.SWITCH, "off")
        assert cli.main(["train", str(tmp_path / "missing.toml")]) == 2
        assert jax.config.jax_compilation_cache_dir is None
        monkeypatch.delenv(compiling.SWITCH)
        assert cli.main(["train", str(tmp_path / "missing.toml")]) == 2
        assert Path(jax.config.jax_compilation_cache_dir).parent == tmp_path / "user" / "programs"

    def test_an_argument_counts_more_than_the_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(compiling.SWITCH, "off")
        assert aj.compile_cache(tmp_path) is not None

    def test_no_cache_where_jax_has_none(self, tmp_path: Path) -> None:
        jax.config.update("jax_enable_compilation_cache", False)
        try:
            assert aj.compile_cache(tmp_path) is None
        finally:
            jax.config.update("jax_enable_compilation_cache", True)

    def test_a_default_that_cannot_be_written_to_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "file"))
        assert aj.compile_cache() is None

    def test_a_named_folder_that_cannot_be_written_to_is_a_mistake(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match="folder='.*file' is not allowed: give a folder to write to"):
            aj.compile_cache(tmp_path / "file")
        monkeypatch.setenv(compiling.SWITCH, str(tmp_path / "file"))
        with pytest.raises(ConfigError, match="AIHWJAX_COMPILE_CACHE='.*file' is not allowed"):
            aj.compile_cache()

    def test_a_size_below_one_is_a_mistake(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="megabytes=0 is not allowed: give at least 1"):
            aj.compile_cache(tmp_path, megabytes=0)

    def test_what_was_not_written_to_its_end_is_dropped(self, tmp_path: Path) -> None:
        place = tmp_path / compiling.kind(jax.__version__)
        place.mkdir()
        for name in ("whole-cache", "whole-atime", "half-cache"):
            (place / name).touch()
        aj.compile_cache(tmp_path)
        assert {path.name for path in place.iterdir()} - {".lockfile"} == {"whole-cache", "whole-atime"}


def test_the_folder_names_release_and_processor() -> None:
    assert compiling.kind("1.2.3").startswith("jax-1.2.3-")
    assert compiling.kind("1.2.3") != compiling.kind("1.2.4")
