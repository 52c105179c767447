"""How often a program calls each layer, and how many vectors each multiplies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from aihwjax.nn.marks import mark

WHILE = "in a loop whose end depends on data: one step is counted"
COND = "in a condition: the branch with most products is counted"


class Calls(NamedTuple):
    """What happens to one layer."""

    calls: int = 0
    """How often it is called."""
    vectors: int = 0
    """How many vectors it multiplies."""
    note: str = ""
    """What was assumed, if anything."""

    def plus(self, other: Calls, times: int, note: str = "") -> Calls:
        """Return the sum of both, the other one several times."""
        note = self.note or other.note or note
        return Calls(self.calls + times * other.calls, self.vectors + times * other.vectors, note)


Counts: TypeAlias = dict[str, Calls]
"""Path of a layer to what happens to it; without those to which nothing does."""


def counted(jaxpr: Any) -> Counts:
    """Count the marks of a program.

    Args:
        jaxpr: The program.
    """
    found: Counts = {}
    for equation in jaxpr.eqns:
        name, inner = equation.primitive.name, list(_inside(equation.params))
        if equation.primitive is mark:
            own = Calls(1, equation.params["vectors"])
            _add(found, {equation.params["place"]: own})
        elif name == "cond":
            branches = [counted(branch) for branch in inner]
            for place in {place: None for branch in branches for place in branch}:
                most = max((branch.get(place, Calls()) for branch in branches), key=lambda calls: calls.vectors)
                same = all(branch.get(place) == most for branch in branches)
                _add(found, {place: most}, note="" if same else COND)
        else:
            times = equation.params["length"] if name == "scan" else 1
            # of a solver with several parts it is not known either how often each runs
            note = WHILE if name == "while" or len(inner) > 1 else ""
            for each in inner:
                _add(found, counted(each), times, note)
    return found


def _add(found: Counts, more: Counts, times: int = 1, note: str = "") -> None:
    for place, calls in more.items():
        found[place] = found.get(place, Calls()).plus(calls, times, note)


def _inside(parameters: Any) -> Iterator[Any]:
    """Yield the programs among the parameters of an operation."""
    for value in parameters.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            body = getattr(part, "jaxpr", part)
            if hasattr(body, "eqns"):
                yield body
