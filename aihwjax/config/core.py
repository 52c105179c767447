"""The base of all configurations: fields, registration, validation, replacement."""

from __future__ import annotations

import dataclasses
import enum
import typing
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

import jax
import numpy as np

from aihwjax import arguments, catalogue, showing
from aihwjax.arguments import answered
from aihwjax.config import text
from aihwjax.config.limits import NumberInfo
from aihwjax.errors import ConfigError, nearest

_T = TypeVar("_T", bound=type)
_Enum = TypeVar("_Enum", bound=enum.Enum)
_REGISTRY: dict[str, type[Config]] = {}


# --------------------------------------------------------------------------- fields
@answered
def zero(value: float) -> bool:
    """Off condition of a feature that is off at exactly zero."""
    return value == 0


@answered
def not_positive(value: float) -> bool:
    """Off condition of a feature that is off at zero and below."""
    return value <= 0


@answered
def number(
    default: Any = dataclasses.MISSING,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    integer: bool = False,
    optional: bool = False,
    off: Callable[[float], bool] | None = None,
    infinite: bool = False,
) -> Any:
    """Declare a numeric field: a pytree leaf.

    Args:
        default: Value if none is given.
        minimum: Smallest allowed value.
        maximum: Largest allowed value.
        above: Value that must be exceeded.
        integer: Whether only whole numbers are allowed.
        optional: Whether ``None`` is allowed.
        off: Condition under which a plain Python number leaves the tree (see the module docstring).
        infinite: Whether infinity is allowed; the field's docstring says what it means.
    """
    info = NumberInfo(minimum, maximum, above, integer, optional, off, infinite)
    return dataclasses.field(default=default, metadata={"number": info})


@answered
def numbers(
    default: Any = dataclasses.MISSING,
    *,
    minimum: float | None = None,
    above: float | None = None,
    infinite: bool = False,
) -> Any:
    """Declare a field that is a tuple of numbers, each of them a pytree leaf; see :func:`number`."""
    info = NumberInfo(minimum, None, above, False, False, None, infinite, sequence=True)
    given = default if default is dataclasses.MISSING else tuple(default)
    return dataclasses.field(default=given, metadata={"number": info})


@answered
def part(factory: Callable[[], Any]) -> Any:
    """Declare a field that is itself a configuration (or a tuple of them)."""
    return dataclasses.field(default_factory=factory)


# ----------------------------------------------------------------------------- base
class Config(showing.Shown):
    """Base of all configurations; see :func:`configclass`."""

    at_once: ClassVar[tuple[str, ...]] = ()
    """Fields, besides those of its bases, whose changes act at once; the others are fixed when a tile is drawn."""

    def present(self, name: str) -> bool:
        """Whether the numeric feature ``name`` is in the program.

        False only for a plain Python number that fulfils the field's ``off`` condition.
        """
        value = getattr(self, name)
        info: NumberInfo = known_fields(type(self))[name].metadata["number"]
        if value is None:
            return False
        return not (info.off is not None and _is_plain(value) and info.off(value))

    def replace(self, changes: Mapping[str, Any] | None = None, /, **fields: Any) -> Self:
        """Return a copy with fields replaced; dotted paths reach into parts.

        Raises:
            ConfigError: If a path does not exist or a value is not allowed.
        """
        return replace(self, {**(changes or {}), **fields})

    def validate(self) -> None:
        """Check relations between fields; called when a configuration is built."""

    def __repr__(self) -> str:
        return text.short(self)

    def __treescope_repr__(self, path: str | None, subtree_renderer: showing.Renderer) -> showing.Rendering:
        return showing.settings(self, path, subtree_renderer)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        mine, tree = jax.tree.flatten(self)
        theirs, other_tree = jax.tree.flatten(other)
        if tree != other_tree:  # type: ignore[operator]
            return False
        return all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    def __hash__(self) -> int:
        return hash((type(self).__name__, jax.tree.structure(self)))


# No field specifiers: type checkers read a default only from keywords, and any value given here is one.
@answered
@dataclass_transform(kw_only_default=True, frozen_default=True)
def configclass(cls: _T) -> _T:
    """Turn a class into a configuration: frozen, keyword-only, validated, a pytree, serialisable.

    Fields declared with :func:`number`, :func:`numbers` or :func:`part` are children of the
    pytree, everything else is static. The class is registered under its name for the TOML and
    JSON round trip.
    """
    cls.__post_init__ = _post_init  # type: ignore[attr-defined]
    cls = dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)(cls)  # type: ignore[assignment]
    cls.__init__ = arguments.checked(cls.__init__)  # type: ignore[misc]
    fields = dataclasses.fields(cls)
    hints = typing.get_type_hints(cls)
    children = tuple(f.name for f in fields if _is_child(f, hints[f.name]))
    static = tuple(f.name for f in fields if f.name not in children)
    cls._children, cls._static, cls._hints = children, static, hints  # type: ignore[attr-defined]
    offs = {f.name: f.metadata["number"].off for f in fields if "number" in f.metadata}
    # whole numbers travel as floats, so that jax.grad takes every configuration
    whole = {f.name for f in fields if "number" in f.metadata and f.metadata["number"].integer}

    def flatten(config: Any) -> tuple[list[tuple[Any, Any]], Any]:
        values, absent = [], []
        for name in children:
            value = getattr(config, name)
            off = offs.get(name)
            if off is not None and _is_plain(value) and off(value):
                absent.append((name, value))  # and no child: a tree of other things at the leaves has none there
                continue
            if name in whole and isinstance(value, int):
                value = float(value)
            values.append((jax.tree_util.GetAttrKey(name), value))
        return values, (tuple(getattr(config, name) for name in static), tuple(absent))

    def unflatten(aux: Any, values: Any) -> Any:
        config: Any = object.__new__(cls)
        choices, absent = aux
        off = {name for name, _ in absent}
        for name, value in zip((name for name in children if name not in off), values, strict=True):
            plain = name in whole and isinstance(value, float) and value.is_integer()
            object.__setattr__(config, name, int(value) if plain else value)
        for name, value in absent:
            object.__setattr__(config, name, value)
        for name, value in zip(static, choices, strict=True):
            object.__setattr__(config, name, value)
        return config

    cls.__setattr__ = cls.__delattr__ = _refuse_change  # type: ignore[assignment, method-assign]
    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    _REGISTRY[cls.__name__] = cls  # type: ignore[assignment]
    return cls


def _refuse_change(self: Any, name: str, value: Any = None) -> None:
    shown = showing.word(value)[:40]
    raise dataclasses.FrozenInstanceError(
        f"{type(self).__name__}.{name}: a configuration does not change; make another one with "
        f"config.replace({{'{name}': {shown}}}), which takes paths such as 'device.dw_min', too"
    )


@answered
def registered(name: str) -> type[Config]:
    """Return the configuration class called ``name``, of the library or of any module imported so far.

    Raises:
        ConfigError: If there is none.
    """
    if name not in _REGISTRY:
        catalogue.complete()
    if name not in _REGISTRY:
        raise ConfigError(f"unknown configuration class {name!r}{nearest(name, _REGISTRY)}")
    return _REGISTRY[name]


# ------------------------------------------------------------------------ validation
def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_child(field: dataclasses.Field[Any], hint: Any) -> bool:
    if "number" in field.metadata:
        return True
    options = typing.get_args(hint) if typing.get_origin(hint) in (UnionType, typing.Union) else (hint,)
    if _element(hint) is not None:
        return True
    return any(isinstance(option, type) and issubclass(option, Config) for option in options) or hint is Any


def _element(hint: Any) -> type[Config] | None:
    """Return the class of the entries of a field that is a tuple of configurations."""
    if typing.get_origin(hint) is not tuple:
        return None
    kind = typing.get_args(hint)[0]
    return kind if isinstance(kind, type) and issubclass(kind, Config) else None


@answered
def known(value: Any) -> np.ndarray:
    """Return the values of a number or an array for a check; none where they are traced."""
    return np.zeros(0) if isinstance(value, jax.core.Tracer) or value is None else np.asarray(value, np.float64)


def known_fields(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a configuration class by name."""
    return {field.name: field for field in dataclasses.fields(cls)}


def _post_init(self: Any) -> None:
    for field in dataclasses.fields(self):
        value = getattr(self, field.name)
        where = f"{type(self).__name__}.{field.name}"
        if "number" in field.metadata:
            clean = _clean_number(where, value, field.metadata["number"])
        else:
            clean = _clean_choice(where, value, self._hints[field.name])
        if clean is not value:
            object.__setattr__(self, field.name, clean)
    self.validate()


def _clean_number(where: str, value: Any, info: NumberInfo) -> Any:
    if value is None and info.optional:
        return None
    if isinstance(value, jax.core.Tracer):
        return value
    if info.sequence:
        if isinstance(value, str) or not isinstance(value, list | tuple | np.ndarray):
            raise ConfigError(f"{where}={value!r} is not allowed: give a list of numbers")
        single = dataclasses.replace(info, sequence=False)
        return tuple(_clean_number(f"{where}[{i}]", entry, single) for i, entry in enumerate(value))
    if isinstance(value, list | tuple):
        try:
            value = np.asarray(value)
        except ValueError:
            raise ConfigError(f"{where} has lists of different lengths: give lists of the same length") from None
    allowed = "a number" if isinstance(value, bool | str) or value is None else info.problem(value)
    if allowed is not None:
        raise ConfigError(f"{where}={showing.word(value)} is not allowed: give {allowed}")
    if isinstance(value, np.generic) or _is_plain(value):
        return int(value) if info.integer else float(showing.plain(value))
    return value


def _clean_choice(where: str, value: Any, hint: Any) -> Any:
    element = _element(hint)
    if isinstance(value, Mapping):
        value = _of_mapping(value, element or hint)
    if element is not None:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}={value!r} is not allowed: give a list of {element.__name__}")
        return tuple(_clean_choice(f"{where}[{i}]", entry, element) for i, entry in enumerate(value))
    options = typing.get_args(hint) if typing.get_origin(hint) in (UnionType, typing.Union) else (hint,)
    for option in options:
        if option is Any or (option is NoneType and value is None):
            return value
        if isinstance(option, type):
            if issubclass(option, enum.Enum):
                return clean_enum(where, value, option)
            if option is bool and isinstance(value, np.bool_):
                return bool(value)
            if isinstance(value, option) and not (isinstance(value, bool) and option is not bool):
                return value
        elif typing.get_origin(option) is Callable and callable(value):
            return _hashable(where, value)
    if any(typing.get_origin(option) is Callable for option in options):
        raise ConfigError(f"{where}={value!r} is not allowed: give a function, which no file can hold")
    names = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ConfigError(f"{where}={value!r} is not allowed: give {names}")


def _of_mapping(value: Mapping[Any, Any], kind: Any) -> Any:
    """Return what a class of configurations makes of a dictionary; the dictionary itself if it takes none."""
    return kind.of_mapping(value) if hasattr(kind, "of_mapping") else value


def _hashable(where: str, value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        raise ConfigError(f"{where}={value!r} is not allowed: give a function that can be hashed") from None
    return value


def clean_enum(where: str, value: object, kind: type[_Enum]) -> _Enum:
    """Return the member of an enum that a value is or names.

    Args:
        where: What the message calls the value.
        value: A member, or its name or value as text.
        kind: The enum.

    Raises:
        ConfigError: If there is no such member; with the nearest name.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        name = value.removeprefix(f"{kind.__name__}.")
        for member in kind:
            if name in (member.name, member.value):
                return member
    names = [member.name for member in kind]
    hint = nearest(value, names) if isinstance(value, str) else ""
    shown = f"{value:g}" if isinstance(value, np.ndarray) and value.ndim == 0 else repr(value)  # a number of a sweep
    raise ConfigError(f"{where}={shown} is not allowed: give one of {', '.join(names)}{hint}")


# --------------------------------------------------------------------------- replace
@answered
def replace(config: Any, changes: Mapping[str, Any]) -> Any:
    """Return ``config`` with the fields at dotted paths replaced.

    Example:
        >>> import aihwjax as aj
        >>> config = aj.SingleRPUConfig(device=aj.ConstantStepDevice())
        >>> aj.config.replace(config, {"device.dw_min": 0.002}).device.dw_min
        0.002

    Args:
        config: Any configuration.
        changes: Dotted path to new value. Text is accepted for enums.

    Raises:
        ConfigError: If a path does not exist (with the nearest name) or a value is not allowed.
    """
    nested: dict[str, Any] = {}
    for path, value in changes.items():
        head, _, rest = path.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            nested[head] = _Leaf(value)
    fields = {}
    for name, change in nested.items():
        known = known_fields(type(config))
        if name not in known:
            raise ConfigError(f"{type(config).__name__} has no field {name!r}{nearest(name, known)}")
        if isinstance(change, _Leaf):
            fields[name] = change.value
        else:
            child = getattr(config, name)
            if isinstance(child, tuple) and all(isinstance(entry, Config) for entry in child):
                fields[name] = _replace_entries(child, change, f"{type(config).__name__}.{name}")
                continue
            if not isinstance(child, Config):
                raise ConfigError(
                    f"{type(config).__name__}.{name} has no fields, so {name}.{next(iter(change))} does not exist"
                )
            fields[name] = replace(child, change)
    return dataclasses.replace(config, **fields)


def _replace_entries(entries: tuple[Any, ...], changes: Mapping[str, Any], where: str) -> tuple[Any, ...]:
    """Return a tuple of configurations with the fields of numbered entries replaced."""
    grouped: dict[str, Any] = {}
    for path, value in changes.items():
        head, _, rest = path.partition(".")
        if head not in {str(i) for i in range(len(entries))}:
            raise ConfigError(f"{where} has no entry {head!r}: give 0 to {len(entries) - 1}")
        if rest:
            grouped.setdefault(head, {})[rest] = value
        else:
            grouped[head] = _Leaf(value)
    changed = list(entries)
    for head, change in grouped.items():
        index = int(head)
        changed[index] = change.value if isinstance(change, _Leaf) else replace(entries[index], change)
    return tuple(changed)


@dataclasses.dataclass(frozen=True)
class _Leaf:
    value: Any
