"""Constructors that answer a mistake in their arguments in one line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from aihwjax.errors import ConfigError, nearest

_P = ParamSpec("_P")
_Self = TypeVar("_Self")
_ALSO = {"lr": "learning_rate", "n_epochs": "epochs", "loss": "loss_function", "rpu_config": "config"}
"""What arguments are called elsewhere."""


def checked(init: Callable[Concatenate[_Self, _P], None]) -> Callable[Concatenate[_Self, _P], None]:
    """Return an ``__init__`` that raises :class:`ConfigError` where Python would raise :class:`TypeError`.

    That is for an unknown argument (with the nearest name), a missing one, and too many.

    Args:
        init: The ``__init__`` of a class.
    """
    _, *parameters = inspect.signature(init).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    by_position = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    by_name = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    single = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in single]
    any_number, any_name = (kind in kinds for kind in single)

    @functools.wraps(init)
    def answered(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        given: dict[str, Any] = kwargs
        if not any_name:
            for name in given:
                if name not in by_name:
                    usual = _ALSO.get(name) if _ALSO.get(name) in by_name else None
                    hint = f"; did you mean {usual!r}?" if usual else nearest(name, by_name)
                    raise ConfigError(f"{type(self).__name__} has no argument {name!r}{hint}")
        if len(args) > len(by_position) and not any_number:
            takes = f"give at most {len(by_position)}, and the others by name" if by_position else "give all by name"
            raise ConfigError(f"{type(self).__name__} has {len(args)} arguments without a name: {takes}")
        positional = by_position[: len(args)]
        for name in positional:
            if name in given:
                raise ConfigError(f"{type(self).__name__} has the argument {name!r} twice: give it once")
        for name in required:
            if name not in given and name not in positional:
                raise ConfigError(f"{type(self).__name__} needs the argument {name!r}")
        init(self, *args, **kwargs)

    return answered
