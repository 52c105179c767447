"""A bar of epochs for an experiment in the cloud."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self


class Bar:
    """Shows how far an experiment is; on a terminal or in a notebook, else nothing."""

    def __init__(self, name: str, shown: bool) -> None:
        """Prepare.

        Args:
            name: Of the experiment.
            shown: Whether to show anything.
        """
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns = (
            TextColumn(escape(name[:40])),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        hidden = not shown or not (console.is_terminal or console.is_jupyter)
        self._progress = Progress(*columns, console=console, disable=hidden, transient=True)
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, answer: Mapping[str, Any]) -> None:
        """Show what the composer said last.

        Args:
            answer: An experiment of its interface.
        """
        text = str(answer.get("status"))
        accuracy = (answer.get("metrics") or {}).get("accuracy")
        if isinstance(accuracy, int | float):
            text += f"  accuracy {100 * accuracy:.2f} %"
        self._progress.update(
            self._task, total=answer.get("epochs") or None, completed=answer.get("epochs_done") or 0, description=text
        )
