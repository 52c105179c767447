"""Every Python block of the README and of the documentation runs, page by page."""

from __future__ import annotations

import re
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.live import live

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
PAGES = {
    str(page.relative_to(ROOT)): [textwrap.dedent(code) for _, code in blocks]
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if (blocks := BLOCK.findall(page.read_text(encoding="utf-8")))
}


_CLOUD = re.compile(r"aj\.(run_cloud|list_experiments|CloudRunner)")


@pytest.fixture
def composer(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a composer beside the examples of a page that needs one."""
    if not _CLOUD.search("".join(PAGES[request.getfixturevalue("page")])):
        yield
        return
    with live(tmp_path, tmp_path) as server:
        monkeypatch.setenv("AIHWJAX_API_URL", server.url)
        monkeypatch.setenv("AIHWJAX_API_TOKEN", server.token())
        yield


def test_there_are_examples() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/physics/devices.md"} <= set(PAGES)


@pytest.mark.usefixtures("composer")
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("example")  # a real one: classes look up the module that defines them
    monkeypatch.setitem(sys.modules, "example", module)
    for number, block in enumerate(PAGES[page], 1):
        exec(compile(block, f"{page}, block {number}", "exec"), module.__dict__)


@pytest.mark.slow
def test_the_first_example_learns_what_it_says() -> None:
    first: dict[str, object] = {}
    exec(compile(PAGES["README.md"][0], "README.md, block 1", "exec"), first)
    said = re.search(r"the accuracy goes from (\S+) over (\S+) to (\S+)\. ", (ROOT / "README.md").read_text("utf-8"))
    assert said is not None
    metrics: list[dict[str, float]] = first["metrics"]  # type: ignore[assignment]
    expected = [float(value) for value in said.groups()]
    assert [entry["accuracy"] for entry in metrics] == pytest.approx(expected, abs=0.03)
