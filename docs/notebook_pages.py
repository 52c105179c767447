"""Pages of the site from the executed notebooks, whose copies ``make notebooks`` puts into ``build/notebooks``."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, InclusionLevel
from nbconvert import MarkdownExporter
from nbformat import NotebookNode
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
MODELS = sorted((ROOT / "notebooks" / "models").glob("*.py"))
EXECUTED = ROOT / "build" / "notebooks"

_TEMPLATE = """
{%- extends 'markdown/index.md.j2' -%}
{%- macro plain(text) %}
``` { .text .notebook-text }
{{ text | strip_ansi }}
```
{% endmacro -%}
{%- block stream %}{{ plain(output.text) }}{% endblock stream -%}
{%- block data_png scoped %}
![Output of the cell above]({{ output.metadata.filenames['image/png'] }})
{% endblock data_png -%}
{%- block data_text scoped %}{{ plain(output.data['text/plain']) }}{% endblock data_text -%}
"""
_PLACED = re.compile(r'<div data-place="(\d+)"></div>')


@dataclass(frozen=True)
class NotebookPage:
    """What a notebook is on the site."""

    markdown: str
    """Text, code and outputs; a place stands for each output that is HTML."""
    images: dict[str, bytes]
    """Pictures by file name."""
    html: list[str]
    """The outputs that are HTML, in order of their places."""


def page(notebook: NotebookNode, name: str, executed: bool) -> NotebookPage:
    """Return the page of a notebook.

    Args:
        notebook: With its outputs, if there are some.
        name: Name of its file, without extension.
        executed: Whether the outputs are those of the cells.
    """
    html: list[str] = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data and not any(kind.startswith("image/") for kind in data):
                # Markdown would find blank lines and stars in it
                html.append(data["text/html"])
                data["text/html"] = place(len(html) - 1)
    naming = {"output_filename_template": name + "_{cell_index}_{index}{extension}"}
    settings = Config({"ExtractOutputPreprocessor": naming})
    exporter = MarkdownExporter(config=settings, raw_template=_TEMPLATE)
    text, resources = exporter.from_notebook_node(notebook)
    title, _, rest = text.strip().partition("\n")
    about = f"[Download this notebook]({name}.ipynb){{ download='{name}.ipynb' }} to run it yourself"
    about += " (`pip install 'aihwjax[notebook]'`)."
    if not executed:
        about += "\n\n!!! note\n    Without results: this copy of the site was built before `make notebooks` was run."
    return NotebookPage(f"{title}\n\n{about}\n{rest}\n", resources.get("outputs", {}), html)


def read(source: Path) -> tuple[NotebookNode, bool]:
    """Return a notebook with its outputs, and whether there is an executed copy that is not older than it."""
    copy = EXECUTED / source.name
    executed = copy.exists() and same_code(nbformat.read(copy, 4), nbformat.read(source, 4))
    return nbformat.read(copy if executed else source, 4), executed


def same_code(first: NotebookNode, second: NotebookNode) -> bool:
    """Whether two notebooks have the same cells, but for their outputs."""
    return [(c.cell_type, c.source) for c in first.cells] == [(c.cell_type, c.source) for c in second.cells]


_html: dict[str, list[str]] = {}


def files(config: MkDocsConfig) -> list[File]:
    """Return the pages of all notebooks, their pictures, and the notebooks themselves."""
    made = []
    for source in SOURCES:
        notebook, executed = read(source)
        if not executed:
            print(f"{source.name} has no executed copy: run `make notebooks` for its results", file=sys.stderr)
        result = page(notebook, source.stem, executed)
        uri = f"notebooks/{source.stem}.md"
        _html[uri] = result.html
        made.append(File.generated(config, uri, content=result.markdown))
        made.append(File.generated(config, f"notebooks/{source.name}", content=source.read_bytes()))
        made += [File.generated(config, f"notebooks/{name}", content=image) for name, image in result.images.items()]
    for model in MODELS:  # a notebook links to what it imports; other code in docs/ is no part of the site
        uri, kept = f"notebooks/models/{model.name}", InclusionLevel.INCLUDED
        made.append(File.generated(config, uri, content=model.read_bytes(), inclusion=kept))
    return made


def place(number: int) -> str:
    """Return what stands for an output that is HTML until the page itself is HTML."""
    return f'<div data-place="{number}"></div>'


def with_html(content: str, outputs: list[str]) -> str:
    """Return a page in HTML with the outputs that are HTML in their places."""

    def output(match: re.Match[str]) -> str:
        return f'<div class="notebook-output" data-search-exclude>{outputs[int(match[1])]}</div>'

    return _PLACED.sub(output, content)


def with_outputs(content: str, uri: str) -> str:
    """Return the HTML of any page of the site with the outputs that belong to it."""
    return with_html(content, _html.get(uri, []))


def navigation() -> list[str]:
    """Return the pages in their order."""
    return [f"notebooks/{source.stem}.md" for source in SOURCES]
