"""Calls that answer a mistake in their arguments in one line.

Nothing is checked before a call: what Python itself refuses is looked at afterwards.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, Concatenate, ParamSpec, TypeVar

from aihwjax.errors import ConfigError, nearest

_P = ParamSpec("_P")
_Self = TypeVar("_Self")
_Function = TypeVar("_Function", bound=Callable[..., Any])
_Class = TypeVar("_Class", bound=type)
_ALSO = {
    "lr": ("learning_rate",),
    "rate": ("learning_rate",),
    "n_epochs": ("epochs",),
    "num_epochs": ("epochs",),
    "max_epochs": ("epochs",),
    "loss": ("loss_function",),
    "loss_fn": ("loss_function",),
    "criterion": ("loss_function",),
    "rpu_config": ("config",),
    "seed": ("key", "rngs"),
    "rng": ("key", "rngs"),
    "callback": ("reports",),
    "callbacks": ("reports",),
    "verbose": ("progress", "stdout"),
    "monitor": ("keep_best",),
    "mode": ("best",),
}
"""What arguments are called elsewhere, and here; the first that there is counts."""
_ANSWERING = weakref.WeakSet[Callable[..., Any]]()
_MOST = 16
"""Names of arguments that an answer lists."""


def checked(init: Callable[Concatenate[_Self, _P], None]) -> Callable[Concatenate[_Self, _P], None]:
    """Return an ``__init__`` that raises :class:`ConfigError` where Python would raise :class:`TypeError`.

    That is for an unknown argument (with the nearest name), a missing one, and too many.

    Args:
        init: The ``__init__`` of a class.
    """

    @functools.wraps(init)
    def answered(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError:
            problem = _problem(type(self).__name__, init, (self, *args), kwargs)
            if problem is None:
                raise
            raise ConfigError(problem) from None

    return answered


def answered(function: _Function) -> _Function:
    """Return a function that raises :class:`ConfigError` where Python refuses its arguments with a :class:`TypeError`.

    That is for an unknown argument (with the nearest name), a missing one, and too many. Name, signature and type
    are those of the function; every other error passes as it is.

    Example:
        >>> @answered
        ... def scaled(x, *, factor=2):
        ...     return factor * x
        >>> scaled(1, factr=3)
        Traceback (most recent call last):
        aihwjax.errors.ConfigError: scaled has no argument 'factr'; did you mean 'factor'?

    Args:
        function: A function or a method.
    """
    if function in _ANSWERING:
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            problem = _problem(function.__qualname__.removesuffix(".__call__"), function, args, kwargs)
            if problem is None:
                raise
            raise ConfigError(problem) from None

    _ANSWERING.add(call)
    return call  # type: ignore[return-value]


def answering(cls: _Class) -> _Class:
    """Let a class, and the public methods that it defines, answer as :func:`answered` does; returns the class.

    Args:
        cls: The class; changed in place.
    """
    for name, value in list(vars(cls).items()):
        if name == "__init__" and isinstance(value, FunctionType):
            cls.__init__ = checked(value)  # type: ignore[misc]
        elif name.startswith("_") and name != "__call__":
            continue
        elif isinstance(value, FunctionType):
            setattr(cls, name, answered(value))
        elif isinstance(value, classmethod | staticmethod):
            setattr(cls, name, type(value)(answered(value.__func__)))
    return cls


def _problem(name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the arguments of a call; ``None`` if Python takes them."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        pass
    else:
        return None
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        parameters, args = parameters[1:], args[1:]
    by_position = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    kinds = {parameter.kind for parameter in parameters}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for given in kwargs:
            if given not in by_name:
                return f"{name} has no argument {given!r}{hint(given, by_name)}"
    if len(args) > len(by_position) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        takes = f"give at most {len(by_position)}, and the others by name" if by_position else "give all by name"
        return f"{name} has {len(args)} arguments without a name: {takes}"
    positional = by_position[: len(args)]
    for given in positional:
        if given in kwargs:
            return f"{name} has the argument {given!r} twice: give it once"
    single = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in single]
    missing = [needed for needed in required if needed not in kwargs and needed not in positional]
    return f"{name} needs the argument {missing[0]!r}" if missing else None


def hint(given: str, names: Sequence[str]) -> str:
    """Return what follows on an unknown argument: the one that was meant, or all if they are few.

    Args:
        given: The unknown argument.
        names: Those that there are.
    """
    for usual in _ALSO.get(given, ()):
        if usual in names:
            return f"; did you mean {usual!r}?"
    near = nearest(given, names)
    if near or not 0 < len(names) <= _MOST:
        return near
    return f"; it has {', '.join(names)}"
