"""A bar of epochs, or of chips, on a terminal, a line of them in a notebook; elsewhere nothing."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self


class Bar:
    """Shows how far a training is; where nobody looks, nothing."""

    def __init__(
        self, shown: bool, total: int | None = None, text: str = "", name: str = "", unit: str = "epochs"
    ) -> None:
        """Prepare.

        Args:
            shown: Whether to show anything.
            total: Epochs, if they are known.
            text: What is said before the first epoch is done.
            name: Of the training, in front of the bar.
            unit: What is counted.
        """
        self._total, self._text, self._name, self._unit = total, text, name, unit
        self._line: Any = None
        self._bar: Any = None
        if not shown:
            return
        if _in_a_notebook():
            self._line = "new"
        elif sys.stderr is not None and sys.stderr.isatty():
            self._bar = _terminal_bar(name)
            self._task = self._bar.add_task(text, total=total)

    def __enter__(self) -> Self:
        if self._line is not None:
            from IPython.display import display

            self._line = display(_Line(self._described(0)), display_id=True)
        if self._bar is not None:
            from rich.errors import LiveError

            try:
                self._bar.start()
            except LiveError:  # another bar is shown, of a training around this one or in another thread
                self._bar = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seen(self) -> bool:
        """Whether somebody looks, on a terminal."""
        return self._bar is not None

    def show(self, done: int, text: str, total: int | None = None, beneath: str = "") -> None:
        """Show how far it is.

        Args:
            done: Finished epochs.
            text: What there is to say of them.
            total: Epochs, if they are known only now.
            beneath: Lines to show beneath the bar, on a terminal.
        """
        self._text, self._total = text, self._total if total is None else total
        if self._line is not None:
            self._line.update(_Line(self._described(done)))
        if self._bar is not None:
            if beneath:
                self._bar.beneath = beneath
            self._bar.update(self._task, completed=done, description=text, total=total)

    def _described(self, done: int) -> str:
        count = f"{done} {self._unit}" if self._total is None else f"{done} of {self._total} {self._unit}"
        return "  ".join(part for part in (self._name, count, self._text) if part)


class _Line:
    """A line of text as the output of a cell."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _in_a_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _terminal_bar(name: str) -> Any:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    label = (TextColumn(escape(name[:40])),) if name else ()
    columns = (*label, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))

    class WithLines(Progress):
        beneath = ""

        def get_renderables(self) -> Any:
            yield from super().get_renderables()
            if self.beneath:
                yield Text(self.beneath, no_wrap=True, overflow="ellipsis")

    return WithLines(*columns, console=Console(stderr=True), transient=True)
