"""How configurations, tiles and models look in a notebook: foldable trees, by treescope.

A class below :class:`Shown` is shown so as the result of a cell; ``print`` and a terminal show its ``repr``, as ever.
Treescope, which comes with Flax, is imported when something is shown.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

Rendering: TypeAlias = Any
"""A piece of a tree, in treescope's own representation."""

Renderer: TypeAlias = Callable[..., Rendering]
"""What renders a value within a tree, called with the value and ``path=``."""

_LARGEST_PICTURE = 40
_PICTURE_PIXELS = 160
_PLAIN = bool | int | float | str | enum.Enum | None


class Shown:
    """Base of what is shown as a foldable tree.

    It has no ``_repr_html_``, because treescope would show that once more, in a frame within its own tree.
    """

    def __treescope_repr__(self, path: str | None, subtree_renderer: Renderer) -> Rendering:
        return NotImplemented

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return what a notebook shows; nothing for a terminal, which shows the ``repr``."""
        return {"text/html": html(self)} if _wants_html() else {}


class Record(Shown):
    """Base of dataclasses of arrays, of which those are ``None`` that are not needed."""

    def __treescope_repr__(self, path: str | None, subtree_renderer: Renderer) -> Rendering:
        return record(self, path, subtree_renderer)


def html(value: object) -> str:
    """Return a foldable tree of any value, as a piece of HTML that needs nothing else.

    Args:
        value: What is shown; all that treescope knows may be in it.
    """
    import treescope

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of arrays that are NaN everywhere
        return treescope.render_to_html(value, ignore_exceptions=True)


def _wants_html() -> bool:
    """Whether the shell that asks can show HTML; yes if there is none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is None or "text/html" in shell.display_formatter.active_types


# -------------------------------------------------------------------------- trees
def tree(
    kind: type,
    fields: Mapping[str, Any],
    folded: Mapping[str, Any],
    path: str | None,
    subtree_renderer: Renderer,
    *,
    comment: str = "",
    folded_as: str = "",
    pictures: Sequence[Rendering] = (),
) -> Rendering:
    """Return the tree of an object.

    Args:
        kind: Its class.
        fields: Attributes that are seen at once.
        folded: Attributes that are seen after a click.
        path: Where the object is in the whole tree.
        subtree_renderer: Renders the attributes.
        comment: What stands behind the class.
        folded_as: What stands for the folded attributes, after their number.
        pictures: What stands above the attributes.
    """
    from treescope import rendering_parts as parts

    def line(name: str, value: Any) -> Rendering:
        where = None if path is None else f"{path}.{name}"
        entry = parts.siblings_with_annotations(f"{name}=", subtree_renderer(value, path=where))
        return parts.build_full_line_with_annotations(entry, ",", parts.fold_condition(collapsed=parts.text(" ")))

    lines = [parts.fold_condition(expanded=picture) for picture in pictures]
    lines += [line(name, value) for name, value in fields.items()]
    if folded:
        label = parts.comment_color(parts.text(f"# {len(folded)} {folded_as}"))
        inner = parts.indented_children([line(name, value) for name, value in folded.items()])
        node = parts.build_custom_foldable_tree_node(
            label=label,
            contents=parts.fold_condition(expanded=inner),
            expand_state=parts.ExpandState.COLLAPSED,
        )
        lines.append(parts.build_full_line_with_annotations(node))
    return parts.build_foldable_tree_node_from_children(
        prefix=parts.siblings(parts.maybe_qualified_type_name(kind), "("),
        children=lines,
        suffix=")",
        path=path,
        first_line_annotation=parts.comment_color(parts.text(f" # {comment}")) if comment else None,
    )


def settings(config: Any, path: str | None, subtree_renderer: Renderer) -> Rendering:
    """Return the tree of a configuration: what differs from the defaults of its class, and folded what does not."""
    changed: dict[str, Any] = {}
    unchanged: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        (unchanged if is_default(value, field) else changed)[field.name] = as_written(value)
    return tree(type(config), changed, unchanged, path, subtree_renderer, folded_as="as by default")


def record(state: Any, path: str | None, subtree_renderer: Renderer) -> Rendering:
    """Return the tree of a dataclass of arrays: what it has, and folded what it does without."""
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    present: dict[str, Any] = {}
    absent: dict[str, Any] = {}
    for name, value in values.items():
        (absent if value is None or (isinstance(value, dict | tuple) and not value) else present)[name] = value
    return tree(type(state), present, absent, path, subtree_renderer, folded_as="not in use")


def is_default(value: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether a field of a configuration has the default of its class; not if it is swept, traced or missing."""
    if field.default is not dataclasses.MISSING:
        return same(value, field.default)
    return field.default_factory is not dataclasses.MISSING and same(value, field.default_factory())


def plain(values: Any) -> Any:
    """Return numbers of arrays as Python's: those of single precision as their shortest decimals, 0.1 for 0.1.

    In single precision they are the same numbers again.

    Args:
        values: A number or a NumPy or JAX array.

    Returns:
        A number, or nested lists of numbers.
    """
    array = np.asarray(values)
    if array.dtype == np.float32:
        array = np.reshape([float(str(value)) for value in array.ravel()], array.shape)
    return array.tolist()


def as_written(value: Any) -> Any:
    """Return an array of one known number as that number, and anything else as it is.

    Args:
        value: A field of a configuration, a rate, or the like.
    """
    if isinstance(value, jax.core.Tracer) or not isinstance(value, jax.Array | np.ndarray | np.generic):
        return value
    if value.ndim or not jax.dtypes.issubdtype(value.dtype, np.number):
        return value
    gone = isinstance(value, jax.Array) and (value.is_deleted() or not value.is_fully_addressable)
    return value if gone else plain(value)


def word(value: Any) -> str:
    """Return the ``repr`` of a value in one line, an array of one known number as that number.

    Args:
        value: Anything.
    """
    if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer) and value.is_deleted():
        return "deleted array"  # JAX raises for its repr
    return " ".join(repr(as_written(value)).split())  # an array has lines


def function_name(function: Any) -> str:
    """Return the name of a function, for people."""
    return str(getattr(function, "__name__", type(function).__name__))


def same(first: Any, second: Any) -> bool:
    """Whether two fields of configurations are known to have the same value.

    Args:
        first: One value.
        second: The other one.
    """
    if isinstance(first, _PLAIN):
        return isinstance(second, _PLAIN) and first == second
    if type(first) is not type(second):
        return False
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if dataclasses.is_dataclass(first):
        names = [field.name for field in dataclasses.fields(first)]
        return all(same(getattr(first, name), getattr(second, name)) for name in names)
    return False


# ----------------------------------------------------------------------- pictures
def size(weights: Any) -> str:
    """Return the size of tiles with weights ``(..., out, in)`` as text."""
    *many, out_size, in_size = getattr(weights, "shape", None) or ("?", "?")
    tiles = "".join(f"{number} x " for number in many)
    return f"{tiles}{out_size} outputs, {in_size} inputs"


def pictures(weights: Any) -> list[Rendering]:
    """Return a small picture of weights ``(..., out, in)``: the first of several tiles, some lines of a large one.

    Empty for what has no values: in a traced function, of a shape, of a buffer that was given away.
    """
    sample = _sample(weights)
    if sample is None:
        return []
    import treescope

    pixels = max(2, min(14, _PICTURE_PIXELS // max(sample.shape)))
    largest = np.abs(sample[np.isfinite(sample)]).max(initial=0.0)
    figure = treescope.render_array(
        sample,
        rows=[0],
        columns=[1],
        around_zero=True,
        vmax=float(largest) or 1.0,
        trim_outliers=False,
        axis_labels={0: f"out {weights.shape[-2]}", 1: f"in {weights.shape[-1]}"},
        pixels_per_cell=pixels,
    )
    return [figure.treescope_part]


def _sample(weights: Any) -> np.ndarray | None:
    """Return some lines of a matrix of weights, as NumPy array."""
    if isinstance(weights, jax.core.Tracer) or not isinstance(weights, jax.Array | np.ndarray):
        return None
    if weights.ndim < 2 or 0 in weights.shape:
        return None
    if isinstance(weights, jax.Array) and (weights.is_deleted() or not weights.is_fully_addressable):
        return None
    rows, columns = (slice(None, None, -(-size // _LARGEST_PICTURE)) for size in weights.shape[-2:])
    with jax.ensure_compile_time_eval():  # while something else is traced
        while weights.ndim > 2:
            weights = weights[0]
        return np.asarray(weights[rows, columns])
