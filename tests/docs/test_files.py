"""The built site works when its pages are opened as files: links, styles, search, and the HTTP interface."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.server.faces.pages.conftest import browser  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
_ADDRESS = re.compile(r'\b(?:href|src)="([^"]+)"')


def test_the_site_is_made_for_files() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert re.search(r"^use_directory_urls: false\b", text, re.MULTILINE)
    assert re.search(r"^  font: false$", text, re.MULTILINE)
    assert "://" not in text, "nothing is loaded from elsewhere"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def addresses(page: Path) -> Iterator[str]:
    """Yield what a page links to and loads, but for places in itself."""
    for address in _ADDRESS.findall(page.read_text("utf-8")):
        if not address.startswith(("#", "data:", "mailto:", "javascript:")):
            yield address


@pytest.mark.slow
def test_every_address_of_the_site_is_a_file(built: Path) -> None:
    pages = [page for page in built.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > 30
    missing = {
        f"{page.relative_to(built)}: {address}"
        for page in pages
        for address in addresses(page)
        if not urlsplit(address).scheme and not (page.parent / unquote(urlsplit(address).path)).is_file()
    }
    assert missing == set()


@pytest.mark.slow
def test_pages_search_and_pictures_work_without_a_server(built: Path, browser: Any) -> None:  # noqa: F811
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("request", lambda asked: problems.append(asked.url) if not asked.url.startswith("file:") else None)
    page.goto((built / "index.html").as_uri())
    page.get_by_role("link", name="Figures").first.click()
    page.wait_for_url("**/guide/plots.html")  # and until what the page shows has arrived
    assert page.evaluate("document.images.length") > 10
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)") == []
    page.locator("input.md-search__input").fill("symmetry point")
    found = page.locator(".md-search-result__item a").first
    found.wait_for()
    assert found.get_attribute("href")
    found.click()
    page.wait_for_load_state()
    assert page.url.startswith("file:")
    page.goto((built / "guide" / "http_api.html").as_uri())
    text = page.locator("article").inner_text()
    assert "GET /api/v1/experiments/{id}/events" in text
    assert "Only events after the one with this id." in text
    page.close()
    assert problems == []
