"""Rows as columns: types, missing values and files, without any training."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from aihwjax.errors import MissingExtraError
from aihwjax.experiments import SweepTable

NAN = float("nan")
ROWS: list[dict[str, Any]] = [
    {"index": 0, "seed": 0, "device": "Soft", "a": 1, "epoch": 0, "train_loss": 0.1 + 0.2, "diverged": False},
    {"index": 0, "seed": 0, "device": "Soft", "a": 1, "epoch": 1, "train_loss": NAN, "pulses": 7, "diverged": True},
    {"index": 1, "seed": 0, "device": None, "a": 0.5, "epoch": 0, "train_loss": 1e-30, "diverged": False},
]
TABLE = SweepTable(ROWS, ("device", "a"))


def test_columns_have_kinds() -> None:
    kinds = {"index": int, "seed": int, "device": str, "a": float, "epoch": int, "train_loss": float, "pulses": int}
    assert TABLE.columns == {**kinds, "diverged": bool} and list(TABLE.columns)[-1] == "diverged"


def test_arrow_and_parquet_keep_every_bit(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = TABLE.to_arrow()
    assert table.column("train_loss").to_pylist()[::2] == [0.1 + 0.2, 1e-30]
    assert table.column("pulses").to_pylist() == [None, 7, None]
    for name in ("one", "two"):
        TABLE.to_parquet(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert parquet.read_table(tmp_path / "one").drop_columns("train_loss") == table.drop_columns("train_loss")


def test_pandas_has_whole_numbers_where_some_are_missing() -> None:
    pytest.importorskip("pandas")
    frame = TABLE.to_pandas()
    assert frame.dtypes.astype(str).to_dict() | {"device": ""} == {
        "index": "int64", "seed": "int64", "device": "", "a": "float64", "epoch": "int64", "train_loss": "float64",
        "pulses": "Int64", "diverged": "bool",
    }  # fmt: skip
    assert frame.loc[1, "pulses"] == 7 and frame["pulses"].isna().sum() == 2
    assert frame[~frame.diverged].groupby("index").train_loss.mean().to_dict() == {0: 0.1 + 0.2, 1: 1e-30}


def test_csv_can_be_read_back(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_loss"]) for row in rows][::2] == [0.1 + 0.2, 1e-30]
    assert [row["pulses"] for row in rows] == ["", "7", ""] and rows[2]["device"] == ""


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, call in (("pandas", TABLE.to_pandas), ("pyarrow", TABLE.to_arrow)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=r"aihwjax\[tables\]"):
            call()
