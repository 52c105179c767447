"""Functions of a user that are told how far a run is, and may end it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from aihwjax.errors import ConfigError
from aihwjax.experiments.training import short

_Report = TypeVar("_Report", bound=Callable[[Any], Any])


def check_reports(reports: Iterable[_Report], what: str = "metrics") -> tuple[_Report, ...]:
    """Return reports as a tuple.

    Args:
        reports: What a user gave.
        what: What they are told, for the error.

    Raises:
        ConfigError: If they are no list, or one is no function.
    """
    if callable(reports) or not isinstance(reports, Iterable):
        raise ConfigError(f"reports={short(reports)} is not allowed: give a list of functions, such as [report]")
    found = tuple(reports)
    for index, report in enumerate(found):
        if not callable(report):
            raise ConfigError(f"reports[{index}]={short(report)} is not allowed: give a function of the {what} so far")
    return found


def goes_on_after(reports: Iterable[Callable[[Any], Any]], told: Any) -> bool:
    """Call every report with a copy of its own; return whether the run goes on.

    Args:
        reports: The functions; one that returns ``False`` ends the run.
        told: What they are told.
    """
    answers = [report(copy.copy(told)) for report in reports]
    return not any(isinstance(answer, bool | np.bool_) and not answer for answer in answers)
