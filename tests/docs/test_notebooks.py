"""Every notebook is a page of the site, with the pictures and outputs of its executed copy."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from docs import notebook_pages

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def example() -> nbformat.NotebookNode:
    """Return an executed notebook with each kind of output."""
    picture = new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})
    tree = new_output("execute_result", {"text/html": "<div>\n\n*tree*\n</div>", "text/plain": "Tree()"})
    plain = new_output("execute_result", {"text/plain": "array([1, 2])"})
    printed = new_output("stream", name="stdout", text="\x1b[31mprinted\x1b[0m\n# no heading")
    return new_notebook(
        cells=[
            new_markdown_cell("# A title\n\nWords."),
            new_code_cell("draw()", outputs=[printed, picture]),
            new_markdown_cell("## A heading"),
            new_code_cell("tree", outputs=[tree]),
            new_code_cell("numbers", outputs=[plain]),
        ],
        metadata={"language_info": {"name": "python"}},
    )


def test_outputs_are_in_the_page() -> None:
    page = notebook_pages.page(example(), "example", executed=True)
    lines = page.markdown.splitlines()
    assert lines[0] == "# A title"
    assert "(example.ipynb)" in lines[2]
    assert [line for line in lines if line.startswith("![")] == ["![Output of the cell above](example_1_1.png)"]
    assert page.images == {"example_1_1.png": base64.b64decode(PIXEL)}
    assert "```python\ndraw()\n```" in page.markdown
    assert "array([1, 2])" in lines
    assert "printed" in lines, "without the terminal's colours"
    assert "make notebooks" not in page.markdown


def test_html_comes_in_its_place_after_markdown() -> None:
    page = notebook_pages.page(example(), "example", executed=True)
    assert page.html == ["<div>\n\n*tree*\n</div>"]
    assert "*tree*" not in page.markdown
    assert page.markdown.count("data-place") == 1
    html = notebook_pages.with_html(f"<p>before</p>{notebook_pages.place(0)}", page.html)
    assert html.startswith("<p>before</p><div")
    assert page.html[0] in html


def test_a_page_without_results_says_so() -> None:
    page = notebook_pages.page(example(), "example", executed=False)
    assert "make notebooks" in page.markdown


def test_a_copy_of_other_code_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook_pages, "EXECUTED", tmp_path)
    source = notebook_pages.SOURCES[0]
    stripped = nbformat.read(source, 4)
    assert notebook_pages.read(source) == (stripped, False)
    copy = nbformat.read(source, 4)
    code = next(cell for cell in copy.cells if cell.cell_type == "code")
    code.outputs = [new_output("stream", name="stdout", text="seen")]
    nbformat.write(copy, tmp_path / source.name)
    assert notebook_pages.read(source) == (copy, True)
    code.source += "\nmore()"
    nbformat.write(copy, tmp_path / source.name)
    assert notebook_pages.read(source) == (stripped, False)


def test_there_is_a_page_for_each_notebook() -> None:
    names = [path.stem for path in sorted(notebook_pages.ROOT.glob("notebooks/*.ipynb"))]
    assert len(names) >= 5
    assert notebook_pages.navigation() == [f"notebooks/{name}.md" for name in names]


@pytest.mark.parametrize("source", notebook_pages.SOURCES, ids=lambda path: path.stem)
def test_a_notebook_has_a_title_and_is_stored_without_outputs(source: Path) -> None:
    notebook = nbformat.read(source, 4)
    assert notebook.cells[0].source.startswith("# ")
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("source", notebook_pages.SOURCES, ids=lambda path: path.stem)
def test_the_pictures_of_an_executed_notebook_are_on_its_page(source: Path) -> None:
    notebook, executed = notebook_pages.read(source)
    if not executed:
        pytest.skip("not executed: run `make notebooks`")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = [set(output.get("data", {"text/plain": ""})) for output in outputs]
    page = notebook_pages.page(notebook, source.stem, executed)
    pictures, trees = sum("image/png" in kind for kind in kinds), len(page.html)
    assert outputs
    assert page.markdown.count("![Output") == len(page.images) == pictures
    assert page.markdown.count("data-place") == trees == sum("text/html" in k and "image/png" not in k for k in kinds)
    assert page.markdown.count(".notebook-text") == len(kinds) - pictures - trees
    assert pictures == 0 or min(map(len, page.images.values())) > 1000
    assert len(set(page.images.values())) == pictures, "the same picture twice"


@pytest.mark.parametrize("source", notebook_pages.SOURCES, ids=lambda path: path.stem)
def test_every_notebook_shows_its_result_in_a_figure(source: Path) -> None:
    notebook, executed = notebook_pages.read(source)
    if not executed:
        pytest.skip("not executed: run `make notebooks`")
    assert notebook_pages.page(notebook, source.stem, executed).images


DRAWS = re.compile(r"plt\.subplots|plot\.plot_")


@pytest.mark.parametrize("source", notebook_pages.SOURCES, ids=lambda path: path.stem)
def test_every_cell_that_draws_shows_a_picture(source: Path) -> None:
    notebook, executed = notebook_pages.read(source)
    if not executed:
        pytest.skip("not executed: run `make notebooks`")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and DRAWS.search(cell.source)]
    assert all(any("image/png" in output.get("data", {}) for output in cell.outputs) for cell in cells)
