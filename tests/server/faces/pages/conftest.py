"""Fixtures of the pages: a composer that serves them, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield a composer that serves its pages, whose streams look often."""
    pytest.importorskip("sqlalchemy", reason="needs the extra composer")
    from aihwjax.server.faces import streaming
    from tests.server.faces.pages.site import serving

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_LOOK_SECONDS", 0.02)
        with serving(tmp_path_factory.mktemp("site") / "data", patch) as running:
            yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Yield the browser of this machine; without one, the tests that need it are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: install one of {', '.join(_NAMES)}")
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=path, args=_OPTIONS)
        yield browser
        browser.close()
