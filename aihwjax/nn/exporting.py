"""Models as programs of their own, which run without this library (``jax.export``)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
from flax import nnx
from jax import export as jax_export

from aihwjax.errors import ConfigError, MissingExtraError, ModuleError, nearest, warn
from aihwjax.nn.pure import Callee, PureCall, pure_call
from aihwjax.replacing import write_bytes

_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_SHOWN = 4


def export(
    model: Callee,
    *example: Any,
    path: str | Path | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    batch: Literal["symbolic", "fixed"] = "symbolic",
    **kwargs: Any,
) -> bytes:
    """Return a model as one portable program, with its weights and devices in it.

    It runs with JAX alone, on the given platforms, for as long as ``jax.export`` promises. Its arguments are the
    arrays of the example, in order, and the words of a key::

        program = jax.export.deserialize(open("model.jaxexport", "rb").read())
        y = jax.jit(program.call)(x, jax.random.key_data(jax.random.key(1)))

    The same key gives what a compiled call gives, ``jax.jit(lambda x, key: model(x, key=key))``, bit for bit on the
    same device; a call that is not compiled rounds in another order, and so may layers on several tiles where the
    batch has any length. There the patches of all images are made at a time, whatever ``patch_memory`` says. The
    program has no derivative and changes nothing.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> layer = aj.nn.AnalogLinear(4, 3, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
        >>> content = aj.export(layer, jax.ShapeDtypeStruct((1, 4), "float32"))  # doctest: +SKIP

    Args:
        model: Any NNX module, or a method of one; in the mode for evaluation (``model.eval()``).
        *example: Arguments of the call: arrays, or shapes (``jax.ShapeDtypeStruct``) in place of them. What is no array
            is part of the program.
        path: File to write it to; its old content is replaced once the new one is complete.
        platforms: Where it shall run, of ``cpu``, ``cuda``, ``rocm`` and ``tpu``.
        batch: Whether the first axis of the first array, and of those of equal length, may have any length in a call,
            or only that of the example. Shapes that are symbolic already (``jax.export.symbolic_shape``) stay as they
            are.
        **kwargs: Further arguments of the call; no arrays.

    Returns:
        The program, for ``jax.export.deserialize``.

    Raises:
        ModuleError: If ``model`` is no module, the call changes it, or its result is not made of arrays.
        ConfigError: If an argument is not allowed.
        MissingExtraError: If flatbuffers is not installed.
        CheckpointError: If the file cannot be written.
        AihwjaxError: If a layer does not take its input; names the layer.

    Warns:
        UserWarning: If the batch cannot be symbolic; names the layer. The program is then for that of the example.
    """
    _check_installed()
    where = _checked_platforms(platforms)
    if batch not in ("symbolic", "fixed"):
        raise ConfigError(f"batch={batch!r} is not allowed: give 'symbolic' or 'fixed'")
    call = pure_call(model, example, kwargs)
    shapes = call.shapes
    if len(shapes) != len([leaf for leaf in jax.tree.leaves(call.args) if isinstance(leaf, jax.ShapeDtypeStruct)]):
        raise ConfigError(
            "keyword arguments cannot be arrays: give them by position, they are arguments of the program"
        )
    if not shapes:
        raise ConfigError("example has no arrays: give the arguments of the program, such as jax.numpy.ones((1, 784))")
    _check_unchanged(call)
    if batch == "symbolic":
        wider = _symbolic(shapes)
        try:
            call.program(jax.random.key(0), wider)
            content = _exported(call, wider, where)
        except Exception as error:  # JAX has many for what it cannot do with symbols
            reason = " ".join(str(error).split())
            reason = reason if len(reason) <= 300 else reason[:297] + "..."
            first = next(shape.shape for shape in shapes if shape.shape)
            warn(f"the batch is fixed to {first[0]}: {reason}")
            content = _exported(call, shapes, where)
    else:
        content = _exported(call, shapes, where)
    if path is not None:
        write_bytes(path, content)
    return content


def _check_installed() -> None:
    try:
        importlib.import_module("flatbuffers")
    except ImportError:
        raise MissingExtraError("export needs flatbuffers: pip install 'aihwjax[export]'") from None


def _checked_platforms(platforms: Sequence[str]) -> tuple[str, ...]:
    given = (platforms,) if isinstance(platforms, str) else tuple(platforms)
    wrong = [name for name in given if name not in _PLATFORMS]
    if wrong or not given:
        hint = "; a GPU is cuda or rocm" if "gpu" in wrong else nearest(str(wrong[0]), _PLATFORMS) if wrong else ""
        raise ConfigError(f"platforms={platforms!r} is not allowed: give some of {', '.join(_PLATFORMS)}{hint}")
    return given


def _check_unchanged(call: PureCall) -> None:
    """Refuse a call that changes the model: nobody would keep that."""
    changed = call.program(jax.random.key(0)).changed
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ModuleError(f"the call changes {changed[0]}{more}, which a program cannot keep: call model.eval() before")


def _symbolic(shapes: list[jax.ShapeDtypeStruct]) -> list[jax.ShapeDtypeStruct]:
    """Return shapes whose first axis has any length, where it is that of the first array."""
    sizes = [size for shape in shapes for size in shape.shape]
    if not sizes or any(jax_export.is_symbolic_dim(size) for size in sizes):
        return shapes
    (any_length,) = jax_export.symbolic_shape("batch")
    first = next(shape.shape[0] for shape in shapes if shape.shape)
    return [
        jax.ShapeDtypeStruct((any_length, *shape.shape[1:]), shape.dtype) if shape.shape[:1] == (first,) else shape
        for shape in shapes
    ]


def _exported(call: PureCall, shapes: list[jax.ShapeDtypeStruct], platforms: tuple[str, ...]) -> bytes:
    graph, state = nnx.split(call.module)
    kind = str(jax.random.key_impl(jax.random.key(0)))

    def program(*values: Any) -> Any:
        *arrays, words = values
        module = nnx.merge(graph, state, copy=True)
        return call.run(module, arrays, jax.random.wrap_key_data(words, impl=kind))

    words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    traced = jax_export.export(jax.jit(program), platforms=platforms)(*shapes, words)
    try:
        return bytes(traced.serialize())
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModuleError(f"the result cannot be stored, give arrays in tuples, lists or dicts: {reason}") from None
