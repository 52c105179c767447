"""A successive halving that is stopped at any epoch goes on from its folder, and ends with the same table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aihwjax.errors import CheckpointError, ConfigError
from aihwjax.experiments import LogUniform, SweepTable, sampled, successive_halving
from aihwjax.experiments.sweeping import halving
from aihwjax.experiments.sweeping.engine import Call, Engine
from tests.experiments.sweeping_small import KEY, exact

POINTS = sampled({"learning_rate": LogUniform(0.01, 1e5)}, 9, key=1)
EPOCHS = 6


def run(folder: Path | None, **options: Any) -> SweepTable:
    """Halve in three calls of three networks, all configurations for two epochs at first."""
    own = exact(epochs=EPOCHS)
    engine = Engine(own, key=KEY, way="map")
    one, two = (engine.plan(POINTS[:count], [0]).memory for count in (1, 2))
    given = {"memory": one + 2 * (two - one), "way": "map", "factor": 2, "first": 2, **options}
    return successive_halving(own, POINTS, key=KEY, folder=folder, progress=False, **given)


def stopped(monkeypatch: pytest.MonkeyPatch, after: int, folder: Path, **options: Any) -> int:
    """Stop after some epochs of calls, between training and keeping, and return how many of them there were."""
    advance, trained = Call.advance, []

    def stopping(call: Call, until: int, after_each: Any = None) -> None:
        def counting(each: Call) -> None:
            trained.append(each.done)
            if len(trained) == after:
                raise KeyboardInterrupt
            if after_each is not None:
                after_each(each)

        advance(call, until, counting)

    with monkeypatch.context() as patch:
        patch.setattr(Call, "advance", stopping)
        try:
            run(folder, **options)
        except KeyboardInterrupt:
            assert len(trained) == after
    return len(trained)


@pytest.mark.slow
def test_a_halving_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(None)
    assert "3 calls" in str(whole.plan) and any(row["diverged"] for row in whole.rows)
    monkeypatch.setattr(halving, "EVERY_SECONDS", 0.0)
    every = stopped(monkeypatch, -1, tmp_path / "calm")
    assert run(tmp_path / "calm").rows == whole.rows
    for moment in (2, 8, every):  # in the first stage, within the second one, at the very end
        folder = tmp_path / str(moment)
        stopped(monkeypatch, moment, folder)
        # the epoch that was not kept is trained again, no other one is
        assert stopped(monkeypatch, -1, folder) == every - moment + 1
        assert (folder / "rows-00002.jsonl").exists() and not any(folder.glob("state-*"))
        assert run(folder).rows == whole.rows
        names = [f"rows-0000{call}.jsonl" for call in range(3)]
        assert [(folder / name).read_bytes() for name in names] == [
            (tmp_path / "calm" / name).read_bytes() for name in names
        ]


@pytest.mark.slow
def test_side_by_side_and_in_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(halving, "EVERY_SECONDS", 0.0)
    options: dict[str, Any] = {"way": "vmap", "memory": None, "parquet": True}
    stopped(monkeypatch, 3, tmp_path, **options)
    assert run(tmp_path, **options).rows == run(None, way="vmap", memory=None).rows
    assert parquet.read_table(tmp_path / "table.parquet").num_rows == len(run(tmp_path, **options).rows)


def test_another_halving_and_parquet_without_a_folder_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="parquet=True is not allowed without a folder"):
        run(None, parquet=True)
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is the folder of another sweep"):
        run(tmp_path)
