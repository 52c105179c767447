"""A table of what one call of a model does on tiles (spec: layers, section 9)."""

from __future__ import annotations

import math
from typing import Any

import jax
from flax import nnx

from aihwjax import random
from aihwjax.devices import counts
from aihwjax.errors import ConfigError, ModuleError
from aihwjax.nn.layer import AnalogLayer
from aihwjax.nn.paths import analog_layers
from aihwjax.nn.pure import Callee, pure_call
from aihwjax.nn.summary.costs import Costs
from aihwjax.nn.summary.counting import Calls, counted
from aihwjax.nn.summary.layout import digital_parameters, layout
from aihwjax.nn.summary.table import Summary
from aihwjax.typing import Key

_SUMMED = (
    "tiles",
    "products",
    "macs",
    "analog_parameters",
    "dac_conversions",
    "adc_conversions",
    "crosspoint_reads",
    "digital_operations",
    "energy",
    "latency",
)


def analog_summary(
    model: Callee, *example: Any, key: Key | int | None = None, costs: Costs | None = None, **kwargs: Any
) -> Summary:
    """Return what one call of a model does on tiles: sizes, products, energy and time of each analog layer.

    The call is traced with shapes alone; nothing is computed or changed, and the model itself may be one of shapes,
    ``nnx.eval_shape(lambda: Model(...))``. Loops (also ``nnx.scan``, ``nn.scan`` and recurrent layers), ``vmap``, and
    layers that are called several times count as often as they run. Where that depends on data, the row says what
    was counted.

    Energy and time are those of the tiles as they are laid out, with the costs of single operations: every tile
    converts its inputs and its outputs, whatever the simulation leaves out (perfect products, no noise). Products
    that bound management repeats are not counted, nor what the rest of the model computes.

    Where devices count their pulses (``count_pulses``), a layer's ``pulses`` are those of all its crosspoints since
    they were drawn, up and down; they are no part of the call, its energy or its time.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> model = aj.nn.AnalogLinear(784, 10, rngs=nnx.Rngs(0))
        >>> summary = aj.analog_summary(model, jax.ShapeDtypeStruct((64, 784), "float32"))
        >>> row = summary.rows[0]
        >>> row["tiles"], row["tile_sizes"], row["products"], row["macs"]
        (2, '2 of 10x392', 64, 501760)

    Args:
        model: Any NNX module with analog layers, or a method of one.
        *example: Arguments of the call: arrays, or shapes (``jax.ShapeDtypeStruct``) in place of them.
        key: Source of the noise of the call, of which only the kind counts; ``None``: ``0``.
        costs: What the operations cost; ``None``: ``Costs()``, round numbers.
        **kwargs: Further arguments of the call.

    Raises:
        ModuleError: If ``model`` is no module, cannot be called, or has no analog layers.
        ConfigError: If ``costs`` or ``key`` is not allowed.
        AihwjaxError: If a layer does not take its input; names the layer.
    """
    costs = Costs() if costs is None else costs
    if not isinstance(costs, Costs):
        raise ConfigError(f"costs={costs!r} is not allowed: give aihwjax.Costs(adc_energy=...)")
    call = pure_call(model, example, kwargs)
    layers = analog_layers(call.module)
    if not layers:
        name = type(call.module).__name__
        raise ModuleError(f"{name} has no analog layers: make some with aihwjax.convert_to_analog(model, config)")
    calls = counted(call.program(random.as_key(0 if key is None else key)).jaxpr.jaxpr)
    rows = [_row(path, layer, calls.get(path, Calls()), costs) for path, layer in layers.items()]
    totals = {"layers": len(rows), **{name: sum(row[name] for row in rows) for name in _SUMMED}}
    available = sum(layout(layer).available * row["stack"] for layer, row in zip(layers.values(), rows, strict=True))
    totals["utilisation"] = totals["analog_parameters"] / available
    totals["digital_parameters"] = digital_parameters(call.module)
    known = [row["pulses"] for row in rows if row["pulses"] is not None]
    totals["pulses"] = sum(known) if known else None
    return Summary(rows, totals, costs)


def _row(path: str, layer: AnalogLayer, calls: Calls, costs: Costs) -> dict[str, Any]:
    on_tiles, stack = layout(layer), math.prod(layer.stacked())
    sizes = [(f"{rows}x{columns}", count) for (rows, columns), count in on_tiles.tiles.items()]
    text = ", ".join(f"{count} of {size}" if on_tiles.tiles.total() > 1 else size for size, count in sizes)
    vectors = calls.vectors
    return {
        "path": path,
        "class": type(layer).__name__,
        "outputs": layer.rows,
        "inputs": layer.columns,
        "stack": stack,
        "tiles": on_tiles.tiles.total() * stack,
        "tile_sizes": text,
        "array": "x".join(map(str, on_tiles.array)),
        "utilisation": on_tiles.crosspoints / on_tiles.available,
        "calls": calls.calls,
        "products": vectors,
        "reuse": vectors / stack,
        "macs": vectors * layer.rows * layer.columns,
        "analog_parameters": on_tiles.crosspoints * stack,
        "digital_parameters": digital_parameters(layer),
        "dac_conversions": vectors * on_tiles.dac,
        "adc_conversions": vectors * on_tiles.adc,
        "crosspoint_reads": vectors * on_tiles.reads,
        "digital_operations": vectors * on_tiles.digital,
        "energy": vectors * on_tiles.energy(costs),
        "latency": vectors * on_tiles.time(costs),
        "pulses": _pulses(layer),
        "note": calls.note,
    }


def _pulses(layer: AnalogLayer) -> int | None:
    """Return the pulses that a layer's crosspoints got; ``None`` if none are counted, or there are shapes alone."""
    found = counts.counters(nnx.state(layer))
    if any(isinstance(array, jax.core.Tracer) or not isinstance(array, jax.Array) for array in jax.tree.leaves(found)):
        return None
    return counts.total(found)
