"""A bar of epochs, on a terminal or in a notebook."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Bar:
    """Shows how far a training is; where nobody looks, nothing."""

    def __init__(self, shown: bool, total: int | None = None, text: str = "", name: str = "") -> None:
        """Prepare.

        Args:
            shown: Whether to show anything.
            total: Epochs, if they are known.
            text: What is said before the first epoch is done.
            name: Of the training, in front of the bar.
        """
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        label = (TextColumn(escape(name[:40])),) if name else ()
        columns = (*label, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        hidden = not shown or not (console.is_terminal or console.is_jupyter)
        self._progress = Progress(*columns, console=console, disable=hidden, transient=True)
        self._task = self._progress.add_task(text, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, done: int, text: str, total: int | None = None) -> None:
        """Show how far it is.

        Args:
            done: Finished epochs.
            text: What there is to say of them.
            total: Epochs, if they are known only now.
        """
        self._progress.update(self._task, completed=done, description=text, total=total)
