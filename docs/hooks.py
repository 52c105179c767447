"""Hooks of the site: API pages from the package's folders, the HTTP interface, notebooks, and formulas as MathML."""

from __future__ import annotations

import functools
import html
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import http_reference  # these are beside this file
import notebook_pages
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[1]
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def api_pages() -> dict[str, list[str]]:
    """Return the modules of each API page: one page for the top level and one for each folder."""
    pages: dict[str, list[str]] = {}
    for path in sorted((_ROOT / "aihwjax").rglob("*.py")):
        parts = path.relative_to(_ROOT).with_suffix("").parts
        if any(part.startswith("_") for part in parts if part != "__init__") or parts[-1] == "__main__":
            continue
        if parts[-1] == "__init__":
            continue
        page = ".".join(parts[:2]) if len(parts) > 2 else "aihwjax"
        pages.setdefault(page, []).append(".".join(parts))
    return pages


@functools.cache
def http_interface() -> dict[str, Any]:
    """Return the composer's OpenAPI document."""
    from aihwjax.server.faces.app import create_app
    from aihwjax.server.settings import ServerSettings

    return create_app(ServerSettings(Path(tempfile.gettempdir()))).openapi()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the notebooks and the API pages to the navigation."""
    assert config.nav is not None
    behind_the_guide = 1 + next(n for n, entry in enumerate(config.nav) if "Guide" in entry)
    config.nav.insert(behind_the_guide, {"Notebooks": notebook_pages.navigation()})
    config.nav.append({"API": [{page: f"api/{page}.md"} for page in api_pages()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the API pages and the notebooks to the site."""
    for page, modules in api_pages().items():
        content = f"# {page}\n\n" + "\n".join(f"::: {module}\n" for module in modules)
        files.append(File.generated(config, f"api/{page}.md", content=content))
    for file in notebook_pages.files(config):
        files.append(file)
    files.append(File.generated(config, "openapi.json", content=json.dumps(http_interface())))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the calls of the HTTP interface into its page."""
    if http_reference.PLACE not in markdown:
        return markdown
    return markdown.replace(http_reference.PLACE, http_reference.markdown(http_interface()))


def on_post_build(config: MkDocsConfig) -> None:
    """Write the index of the search as a script as well: a page that is opened as a file can't fetch anything."""
    folder = Path(config.site_dir) / "search"
    index = (folder / "search_index.json").read_text(encoding="utf-8")
    (folder / "search_index.js").write_text(f"var __index = {index}", encoding="utf-8")


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the formulas of a page by MathML, and put the outputs of a notebook into it."""

    def formula(match: re.Match[str]) -> str:
        return convert(html.unescape(match[2]), display="block" if match[1] == "div" else "inline")

    return notebook_pages.with_outputs(_FORMULA.sub(formula, content), page.file.src_uri)
