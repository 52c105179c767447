"""The report of a comparison: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aihwjax import arguments
from aihwjax.errors import MissingExtraError
from aihwjax.fidelity.pictures import HEIGHT, WIDTH, pictures
from aihwjax.fidelity.records import Record, families, summary, write_whole
from aihwjax.version import __version__

_TEMPLATE = "report.html.jinja"


def check_installed() -> None:
    """Refuse to go on without the templating library.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise MissingExtraError('the report needs jinja2: pip install "aihwjax[report]"') from None


@arguments.answered
def html(records: Sequence[Record], title: str = "Fidelity") -> str:
    """Return a report as HTML text that needs no other file.

    It has a table of the families and, for each case, the verdict, the configuration, and pictures
    of both statistics where records kept them (``run(..., keep=True)``).

    Args:
        records: From :func:`~aihwjax.fidelity.run`.
        title: Headline.

    Raises:
        MissingExtraError: If jinja2 is not installed.
    """
    check_installed()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    groups = families(records)
    cases = {group.name: [record for record in records if record.family == group.name] for group in groups}
    return environment.get_template(_TEMPLATE).render(
        title=title,
        summary=summary(records),
        version=__version__,
        families=groups,
        cases=cases,
        pictures=pictures,
        width=WIDTH,
        height=HEIGHT,
    )


@arguments.answered
def write_html(records: Sequence[Record], path: str | Path, title: str = "Fidelity") -> None:
    """Write a report; the file appears complete or not at all.

    Args:
        records: From :func:`~aihwjax.fidelity.run`, with ``keep=True``.
        path: The file.
        title: Headline.

    Raises:
        MissingExtraError: If jinja2 is not installed.
    """
    write_whole(Path(path), html(records, title))
