from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_data_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see neither the user's data folder nor a proxy between them and their own server."""
    monkeypatch.delenv("AIHWJAX_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
