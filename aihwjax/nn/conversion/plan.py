"""Which layers of a model become analog, what the others stay for, as a table."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flax import nnx

from aihwjax import arguments
from aihwjax.errors import ConfigError, nearest
from aihwjax.nn.conversion.context import Context, held
from aihwjax.nn.conversion.layers import COUNTERPARTS
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.paths import path_text
from aihwjax.tile.config import SingleRPUConfig, TileConfig

Filter: TypeAlias = str | type | Callable[[str, nnx.Module], bool]
"""A path with wildcards, such as ``"encoder/*"``, a class, or a function of path and module."""
Filters: TypeAlias = Filter | Sequence[Filter]
Configs: TypeAlias = TileConfig | Mapping[str, TileConfig | None] | Callable[[str, nnx.Module], TileConfig | None]
"""One configuration for all layers, one by path with wildcards (the first that fits), or a function of path and module;
``None``: the layer stays digital."""


@dataclass(frozen=True)
class Row:
    """What becomes of one layer."""

    path: str
    """Its path in the model."""
    kind: str
    """Its class."""
    converted: bool
    """Whether it becomes analog."""
    reason: str
    """Why not, or what it becomes."""
    left_out: bool = False
    """Whether it multiplies by a matrix, and stays although nobody asked for that."""


@arguments.answering
@dataclass(frozen=True)
class Conversion:
    """What becomes of each layer of a model; printable."""

    rows: tuple[Row, ...]
    """One for each layer that has parameters, in the order of the model."""
    configs: Mapping[int, TileConfig] = field(repr=False)
    """Configuration of each layer that is converted, by its identity."""

    @property
    def converted(self) -> list[str]:
        """Paths of the layers that become analog."""
        return [row.path for row in self.rows if row.converted]

    @property
    def left(self) -> dict[str, str]:
        """Path of each other layer, and the reason."""
        return {row.path: row.reason for row in self.rows if not row.converted}

    def __str__(self) -> str:
        width = [max((len(getattr(row, name)) for row in self.rows), default=0) for name in ("path", "kind")]
        lines = [
            f"{'analog ' if row.converted else 'digital'}  {row.path:{width[0]}}  {row.kind:{width[1]}}  {row.reason}"
            for row in self.rows
        ]
        return "\n".join([*lines, f"{len(self.converted)} of {len(self.rows)} layers become analog"])


@arguments.answered
def plan_conversion(
    model: nnx.Module,
    config: Configs | None = None,
    *,
    include: Filters | None = None,
    exclude: Filters = (),
    converters: Collection[type] = (),
) -> Conversion:
    """Return what :func:`convert_to_analog` would do, without doing it.

    Example:
        >>> from flax import nnx
        >>> model = nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(8, 2, rngs=nnx.Rngs(1)))
        >>> print(plan_conversion(model, exclude="layers/2"))
        analog   layers/0  Linear  AnalogLinear
        digital  layers/2  Linear  excluded
        1 of 2 layers become analog

    Args:
        model: Any NNX module.
        config: As there.
        include: As there.
        exclude: As there.
        converters: Classes that have a converter of their own.

    Raises:
        ConfigError: If an argument is not allowed, or a filter or a path of ``config`` fits no layer.
    """
    wanted, unwanted = _filters("include", include), _filters("exclude", exclude)
    found = list(_layers(model, converters))
    names = _names(model)
    check = _Used({"include": wanted or [], "exclude": unwanted or []}, names)
    choose, context = _chooser(config, check), Context(model)
    rows, configs = [], {}
    inside: dict[int, str] = {}
    for path, layer in found:
        if id(layer) in inside:
            rows.append(Row(path, type(layer).__name__, False, f"inside of {inside[id(layer)]}"))
            continue
        if isinstance(layer, AnalogLayer):
            rows.append(Row(path, type(layer).__name__, False, "analog already"))
            continue
        kind, name = type(layer), type(layer).__name__
        # all filters are asked, so that one that never fits is found
        included = wanted is None or check.any("include", path, layer)
        excluded = check.any("exclude", path, layer)
        own = choose(path, layer)
        if excluded or not included:
            rows.append(Row(path, name, False, "excluded" if excluded else "not included"))
        elif own is None:
            rows.append(Row(path, name, False, "no configuration"))
        elif kind in converters:
            rows.append(Row(path, name, True, "by its own converter"))
            configs[id(layer)] = own
            inside |= {id(part): path for _, part in _below(layer)}
        else:
            problem, becomes = context.problem(layer)
            rows.append(Row(path, name, not problem, problem or becomes, left_out=bool(problem)))
            if not problem:
                configs[id(layer)] = own
    check.refuse_idle([path for path, _ in found])
    rest = [Row(path, type(part).__name__, False, _why(part)) for path, part in _others(model, found)]
    order = {path_text(path): index for index, (path, _) in enumerate(nnx.iter_modules(model))}
    return Conversion(tuple(sorted([*rows, *rest], key=lambda row: order[row.path])), configs)


def _layers(model: nnx.Module, converters: Collection[type]) -> Iterator[tuple[str, nnx.Module]]:
    """Yield the modules that can be asked about, analog ones too; nothing inside of them."""
    inside: list[tuple[Any, ...]] = []
    kinds = (*COUNTERPARTS, *converters, AnalogLayer)
    for path, part in sorted(nnx.iter_modules(model), key=lambda item: len(item[0])):
        if isinstance(part, kinds) and not any(path[: len(outer)] == outer for outer in inside):
            if isinstance(part, AnalogLayer) or not any(isinstance(c, kinds) for _, c in _below(part)):
                inside.append(path)
            yield path_text(path), part


def _below(part: nnx.Module) -> Iterator[tuple[Any, nnx.Module]]:
    return ((path, each) for path, each in nnx.iter_modules(part) if path)


def _others(model: nnx.Module, found: Sequence[tuple[str, nnx.Module]]) -> Iterator[tuple[str, nnx.Module]]:
    """Yield the modules with parameters of their own that are no such layer."""
    known = {id(part) for _, layer in found for _, part in nnx.iter_modules(layer)}
    for path, part in nnx.iter_modules(model):
        if id(part) not in known and any(isinstance(value, nnx.Param) for value in held(part)):
            yield path_text(path), part


def _why(part: nnx.Module) -> str:
    return "its low-rank part stays digital" if isinstance(part, nnx.LoRA) else "has no matrix on tiles"


def _filters(name: str, given: Filters | None) -> list[Filter] | None:
    if given is None:
        return None
    each = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    for one in each:
        if not isinstance(one, str | type) and not callable(one):
            raise ConfigError(f"{name}={one!r} is not allowed: give a path with wildcards, a class or a function")
    return each  # type: ignore[return-value]


def _names(model: nnx.Module) -> dict[int, list[str]]:
    """Return all paths of each module by its identity; a module in two places has two."""
    names: dict[int, list[str]] = {}

    def walk(part: nnx.Module, path: tuple[Any, ...], above: frozenset[int]) -> None:
        names.setdefault(id(part), []).append(path_text(path))
        for name, child in nnx.iter_children(part):
            if isinstance(child, nnx.Module) and id(child) not in above:
                walk(child, (*path, name), above | {id(child)})

    walk(model, (), frozenset({id(model)}))
    return names


def _fits(one: Filter, path: str, names: Sequence[str], layer: nnx.Module) -> bool:
    if isinstance(one, str):
        return any(fnmatch.fnmatchcase(name, one) for name in names)
    return isinstance(layer, one) if isinstance(one, type) else bool(one(path, layer))


class _Used:
    """Filters by the name of their argument, and which of them have fitted something."""

    def __init__(self, filters: dict[str, list[Filter]], names: Mapping[int, list[str]]) -> None:
        self.filters = filters
        self.names = names
        """All paths of each module by its identity."""
        self.fitted: set[tuple[str, int]] = set()

    def any(self, name: str, path: str, layer: nnx.Module) -> bool:
        """Whether any filter of an argument fits."""
        names = self.names.get(id(layer), [path])
        fits = [number for number, one in enumerate(self.filters[name]) if _fits(one, path, names, layer)]
        self.fitted.update((name, number) for number in fits)
        return bool(fits)

    def refuse_idle(self, paths: Sequence[str]) -> None:
        """Refuse filters that have fitted nothing; functions may."""
        for name, each in self.filters.items():
            for number, one in enumerate(each):
                if (name, number) not in self.fitted and isinstance(one, str | type):
                    text = repr(one) if isinstance(one, str) else one.__name__
                    near = nearest(one, paths) if isinstance(one, str) else ""
                    some = ", ".join(paths[:8]) + (", ..." if len(paths) > 8 else "")
                    raise ConfigError(f"{name}={text} fits no layer: there are {some or 'none'}{near}")


def _chooser(config: Configs | None, check: _Used) -> Callable[[str, nnx.Module], TileConfig | None]:
    """Return the configuration of a layer by path and module."""
    if config is None:
        config = SingleRPUConfig()
    if isinstance(config, TileConfig):
        return lambda path, layer: config
    if isinstance(config, Mapping):
        for pattern, value in config.items():
            if not isinstance(pattern, str) or not (value is None or isinstance(value, TileConfig)):
                raise ConfigError(
                    f"config={{{pattern!r}: {value!r}}} is not allowed: give paths and a TileConfig or None"
                )
        check.filters["config"] = list(config)

        def by_path(path: str, layer: nnx.Module) -> TileConfig | None:
            check.any("config", path, layer)
            names = check.names.get(id(layer), [path])
            return next((value for pattern, value in config.items() if _fits(pattern, path, names, layer)), None)

        return by_path
    if not callable(config):
        raise ConfigError(f"config={config!r} is not allowed: give a TileConfig, a mapping by path or a function")

    def by_function(path: str, layer: nnx.Module) -> TileConfig | None:
        value = config(path, layer)
        if value is not None and not isinstance(value, TileConfig):
            raise ConfigError(f"config({path!r}, ...) returned {value!r}: give a TileConfig or None")
        return value

    return by_function
