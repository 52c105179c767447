"""Shapes in signatures against the arrays that come and go, by jaxtyping and beartype."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from typing import Any

import jax
from beartype import beartype
from beartype.door import is_bearable
from jaxtyping import AbstractArray, jaxtyped


def parts(hint: Any) -> Iterator[Any]:
    """Yield an annotation and all that is in it."""
    yield hint
    for inner in typing.get_args(hint):
        yield from parts(inner)


def has_shape(hint: Any) -> bool:
    """Whether an annotation says something about shapes."""
    return any(isinstance(part, type) and issubclass(part, AbstractArray) for part in parts(hint))


class Log:
    """What the import hook has seen of a package."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        """Functions whose signature has shapes."""
        self.called: set[str] = set()
        """Those that were called and returned."""

    def checked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that fails for a wrong shape; other annotations are left to mypy.

        The hook gives this a function of the same name and signature without a body.
        """
        hints = function.__annotations__
        # records are also made of what is no array, by the functions of jax.tree: `unfitting` looks at theirs
        if function.__name__ == "__init__" or not any(map(has_shape, hints.values())):
            return function
        function.__annotations__ = {name: hint if has_shape(hint) else Any for name, hint in hints.items()}
        name = f"{function.__module__}.{function.__qualname__}"
        self.known.add(name)
        strict = beartype(function)

        def noted(*args: Any, **kwargs: Any) -> Any:
            result = strict(*args, **kwargs)
            self.called.add(name)
            return result

        return noted


LOG = Log()


def annotations(kind: type) -> dict[str, Any]:
    """Return the annotations of a class and of those it inherits from."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        names = vars(sys.modules[base.__module__])
        for name, hint in vars(base).get("__annotations__", {}).items():
            text = getattr(hint, "__forward_arg__", hint)  # of a named tuple
            found[name] = eval(text, names) if isinstance(text, str) else text
    return found


def unfitting(record: Any) -> list[str]:
    """Return the fields of a record, and of the records in it, whose value does not have the annotated shape."""
    names = [field.name for field in dataclasses.fields(record)] if dataclasses.is_dataclass(record) else record._fields
    hints = annotations(type(record))
    shaped = [name for name in names if has_shape(hints[name])]
    with jaxtyped("context"):  # a name is the same size in all fields
        wrong = [name for name in shaped if not is_bearable(getattr(record, name), hints[name])]
    for name in names:
        value = getattr(record, name)
        for inner in value if isinstance(value, tuple | list) else (value,):
            if dataclasses.is_dataclass(inner) or hasattr(inner, "_fields"):
                wrong += [f"{name}.{each}" for each in unfitting(inner)]
    return wrong


def is_abstract(function: Callable[..., Any]) -> bool:
    """Whether a function only says what others do: its body raises ``AssertionError``, or is that of a protocol."""
    body = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body  # type: ignore[attr-defined]
    last = body[-1]
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant):  # `...`, or the documentation alone
        return True
    return isinstance(last, ast.Raise) and isinstance(last.exc, ast.Name) and last.exc.id == "AssertionError"


def is_bare(hint: Any) -> bool:
    """Whether an annotation has an array without a shape (one of several kinds of numbers may be swept)."""
    found = list(parts(hint))
    return jax.Array in found and float not in found and int not in found
