"""A case's steps as a static program and its numbers, so that cases of equal structure share a compile.

A *program* says which operations run on arrays of which shape; the numbers (weights, inputs,
learning rates, counts) are arguments. A repeated pattern of operations becomes one block that
is scanned, so that eleven bursts of pulses compile as one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from aihwjax import inference, nn, random, tile
from aihwjax.errors import DataError, nearest
from aihwjax.fidelity.agreement import Values
from aihwjax.fidelity.cases import TileCase, activation
from aihwjax.random import Noise, fold
from aihwjax.tile.config import TileConfig
from aihwjax.tile.state import TileState
from aihwjax.typing import Key, Shape

Numbers = tuple[Any, ...]
Outputs = dict[str, jax.Array]


class Operation(NamedTuple):
    """One operation without its numbers."""

    name: str
    """Name of the step."""
    options: tuple[Any, ...]
    """Static arguments."""
    shapes: tuple[Shape, ...]
    """Shapes of the numbers."""


class Block(NamedTuple):
    """A pattern of operations and how often it is repeated."""

    pattern: tuple[Operation, ...]
    """Operations of one repetition."""
    repeats: int
    """Number of repetitions, each with its own numbers."""


Program = tuple[Block, ...]
"""What is done with a tile."""


class Compiled(NamedTuple):
    """A case split into what is static, what is numbers, and where the results go."""

    program: Program
    """Static part."""
    numbers: tuple[tuple[Numbers, ...], ...]
    """For each block and operation the numbers, stacked over the repetitions."""
    records: tuple[tuple[tuple[str, ...], ...], ...]
    """For each block and operation the record names over the repetitions; empty if nothing is recorded."""
    sums: tuple[str, ...]
    """Records of which the sums over rows, columns and all elements are wanted too."""
    differences: tuple[tuple[str, str, str], ...]
    """Two records of which the second minus the first is wanted, and the name of that."""
    first_alphas: tuple[str, ...]
    """Records of the compensation before the first drift, which are one number with any compensation."""


def compiled(case: TileCase) -> Compiled:
    """Split a case's steps into a program and its numbers.

    Raises:
        DataError: If a step or one of its inputs is unknown.
    """
    operations, numbers, records, sums, differences = [], [], [], [], []
    for step in case.steps:
        if step[0] == "sums":
            sums.append(step[1])
            continue
        if step[0] == "difference":
            differences.append((step[1], step[2], step[3]))
            continue
        operation, values, record = _parsed(step, case)
        operations.append(operation)
        numbers.append(values)
        records.append(record)
    names = [step[0] for step in case.steps]
    before = case.steps[: names.index("drift_inference")] if "drift_inference" in names else case.steps
    first_alphas = tuple(step[1] for step in before if step[0] == "alpha")
    program, stacked, named, start = [], [], [], 0
    for block in _blocks(operations):
        width = len(block.pattern)
        places = [[start + width * k + i for k in range(block.repeats)] for i in range(width)]
        stacked.append(
            tuple(tuple(np.stack(entry) for entry in zip(*(numbers[p] for p in row), strict=True)) for row in places)
        )
        named.append(tuple(tuple(records[p] for p in row) for row in places))
        program.append(block)
        start += width * block.repeats
    return Compiled(tuple(program), tuple(stacked), tuple(named), tuple(sums), tuple(differences), first_alphas)


def _blocks(operations: Sequence[Operation]) -> list[Block]:
    """Fold repeated patterns greedily: the pattern that covers most from the current place on."""
    blocks, start = [], 0
    while start < len(operations):
        best = Block((operations[start],), 1)
        for width in range(1, (len(operations) - start) // 2 + 1):
            pattern = tuple(operations[start : start + width])
            count = 1
            while tuple(operations[start + width * count : start + width * (count + 1)]) == pattern:
                count += 1
            if count > 1 and width * count > len(best.pattern) * best.repeats:
                best = Block(pattern, count)
        blocks.append(best)
        start += len(best.pattern) * best.repeats
    return blocks


def _parsed(step: tuple[Any, ...], case: TileCase) -> tuple[Operation, Numbers, str]:
    """Return the operation, its numbers and the record it fills ("" for none)."""
    name, *arguments = step

    def array(key: str) -> Values:
        if key not in case.inputs:
            raise DataError(f"step {name!r} names an unknown input {key!r}{nearest(key, case.inputs)}")
        return np.asarray(case.inputs[key], np.float32)

    numbers: Numbers = ()
    options: tuple[Any, ...] = ()
    record = ""
    match name, arguments:
        case "set_weights", [weights]:
            numbers = (array(weights),)
        case "update", [x, d, learning_rate, times, closes]:
            numbers = (array(x), array(d), np.float32(learning_rate), np.int32(times))
            options = (bool(closes),)
        case "weights" | "alpha", [record]:
            pass
        case "program", []:
            numbers = (array("w0"),)
        case "convert", [record]:
            numbers = (array("w0"),)
        case "drift_inference", [t]:
            numbers = (np.float32(t),)
        case "forward_eval", [key, record]:
            numbers = (array(key),)
        case "set_input_range", [value]:
            numbers = (np.float32(value),)
        case "train_input_range", [x, d, learning_rate, record]:
            numbers = (array("w0"), array(x), array(d), np.float32(learning_rate))
        case "calibrate", [x, between, method, keywords, record]:
            numbers = (*map(array, ("w1", "b1", "w2", "b2", x)),)
            options = (between, method, tuple(sorted(keywords.items())))
        case "hidden", [record, *keep]:
            options = tuple(keep[0]) if keep and keep[0] is not None else ()
        case "forward" | "backward", [key, record, *pair]:
            numbers, options = (array(key),), (pair == ["pair"],)
        case "decay" | "drift", [amount]:
            numbers = (np.float32(amount),)
        case "end_of_batch" | "diffuse", []:
            pass
        case "reset", [first, columns, probability]:
            options, numbers = (int(first), int(columns)), (np.float32(probability),)
        case _:
            raise DataError(f"unknown step {name!r} with {len(arguments)} arguments{nearest(str(name), _RUN)}")
    return Operation(name, options, tuple(np.shape(value) for value in numbers)), numbers, record


# --------------------------------------------------------------------------- running
_Place = Any
"""A :class:`TileState`, a :class:`~aihwjax.inference.Chip` once it is programmed, or a model that is calibrated."""
_Result = tuple[_Place, Outputs]


def _set_weights(config: TileConfig, state: TileState, key: Key, options: Numbers, weights: jax.Array) -> _Result:
    return tile.set_weights(config, state, weights, key), {}


def _update(
    config: TileConfig,
    state: TileState,
    key: Key,
    options: Numbers,
    x: jax.Array,
    d: jax.Array,
    learning_rate: jax.Array,
    times: jax.Array,
) -> _Result:
    (closes,) = options

    def once(i: jax.Array, state: TileState) -> TileState:
        own = jax.random.fold_in(key, i)
        state = tile.update(config, state, x, d, learning_rate, own)
        return tile.end_of_batch(config, state, fold(own, "end of batch")) if closes else state

    return lax.fori_loop(0, times, once, state), {}


def _weights(config: TileConfig, state: _Place, key: Key, options: Numbers) -> _Result:
    return state, {"": state.weights}


def _convert(config: TileConfig, state: _Place, key: Noise, options: Numbers, weights: jax.Array) -> _Result:
    assert config.noise_model is not None
    converter = config.noise_model.g_converter
    slices, params = inference.convert(converter, weights)
    numbered = {f"/{place}": conductances for place, conductances in enumerate(slices)}
    return state, numbered | {"/back": inference.convert_back(converter, slices, params)}


def _program(config: TileConfig, state: _Place, key: Noise, options: Numbers, weights: jax.Array) -> _Result:
    chip = inference.program(config, weights, key)
    # of the shape that it has after a drift, so that drifts are a loop
    shape = () if chip.baseline is None else chip.baseline.shape
    return dataclasses.replace(chip, alpha=jnp.broadcast_to(chip.alpha, shape)), {}


def _drift_inference(config: TileConfig, chip: _Place, key: Noise, options: Numbers, t: jax.Array) -> _Result:
    return inference.drift(config, chip, t, key), {}


def _alpha(config: TileConfig, chip: _Place, key: Noise, options: Numbers) -> _Result:
    return chip, {"": jnp.ravel(chip.alpha)}


def _forward_eval(config: TileConfig, place: _Place, key: Noise, options: Numbers, x: jax.Array) -> _Result:
    if isinstance(place, TileState):
        return place, {"": tile.forward(config, place, x, key)}
    if isinstance(place, nnx.Module):
        return place, {"": nn.call(place, x, key=key)}
    return place, {"": inference.forward(config, place, x, key)}


def _hidden(config: TileConfig, state: TileState, key: Key, keep: Numbers) -> _Result:
    hidden = tile.hidden_parameters(config, state)
    kept = {name: value for name, value in hidden.items() if not keep or any(part in name for part in keep)}
    return state, {f"/{name}": value for name, value in kept.items()}


def _read(backward: bool) -> Callable[..., _Result]:
    # a tile of the reference is in training mode (matters with a weight modifier only)
    product = partial(tile.backward if backward else tile.forward, training=True)

    def read(config: TileConfig, state: TileState, key: Key, options: Numbers, x: jax.Array) -> _Result:
        (pair,) = options
        first = product(config, state, x, key)
        state = tile.observe(config, state, x, backward=backward)
        if not pair:
            return state, {"": first}
        second = product(config, state, x, fold(key, "second read"))
        state = tile.observe(config, state, x, backward=backward)
        return state, {"": first, "/difference": first - second}

    return read


def _end_of_batch(config: TileConfig, state: TileState, key: Key, options: Numbers) -> _Result:
    return tile.end_of_batch(config, state, key), {}


def _decay(config: TileConfig, state: TileState, key: Key, options: Numbers, alpha: jax.Array) -> _Result:
    return tile.decay(config, state, alpha, key), {}


def _diffuse(config: TileConfig, state: TileState, key: Key, options: Numbers) -> _Result:
    return tile.diffuse(config, state, key), {}


def _drift(config: TileConfig, state: TileState, key: Key, options: Numbers, delta_t: jax.Array) -> _Result:
    return tile.drift(config, state, delta_t, key), {}


def _reset(config: TileConfig, state: TileState, key: Key, options: Numbers, probability: jax.Array) -> _Result:
    first, columns = options
    return tile.reset(config, state, first, columns, probability, key), {}


def _set_input_range(config: TileConfig, state: TileState, key: Noise, options: Numbers, value: jax.Array) -> _Result:
    return tile.set_input_range(config, state, value), {}


def _train_input_range(
    config: TileConfig,
    state: TileState,
    key: Noise,
    options: Numbers,
    weights: jax.Array,
    x: jax.Array,
    d: jax.Array,
    learning_rate: jax.Array,
) -> _Result:
    state = tile.set_weights(config, state, weights, random.derive(key, "weights"))
    if state.input_range is None:
        state = tile.set_input_range(config, state, config.pre_post.input_range.init_value)

    def step(state: TileState, batch: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[TileState, Any]:
        number, x, d = batch
        state = tile.input_range_step(config, state, x, d, learning_rate, random.derive(key, number))
        return state, state.input_range

    state, ranges = lax.scan(step, state, (jnp.arange(len(x)), x, d))
    return state, {"": ranges}


def _calibrate(
    config: TileConfig,
    state: TileState,
    key: Noise,
    options: Numbers,
    w1: jax.Array,
    b1: jax.Array,
    w2: jax.Array,
    b2: jax.Array,
    x: jax.Array,
) -> _Result:
    between, method, keywords = options
    layers = []
    for number, (weights, bias) in enumerate(((w1, b1), (w2, b2))):
        size = weights.shape[1], weights.shape[0]
        layer = nn.AnalogLinear(*size, config=config, rngs=nnx.Rngs(0))
        layer.set_weights(weights, bias, key=random.derive(key, number))
        layers.append(layer)
    model = nn.AnalogSequential(layers[0], activation(between)(), layers[1])
    ranges = nn.calibrate(model, x, method, key=random.derive(key, "data"), **dict(keywords))
    return model, {"": ranges}


_RUN: dict[str, Callable[..., _Result]] = {
    "set_weights": _set_weights,
    "update": _update,
    "weights": _weights,
    "hidden": _hidden,
    "forward": _read(backward=False),
    "backward": _read(backward=True),
    "end_of_batch": _end_of_batch,
    "decay": _decay,
    "diffuse": _diffuse,
    "drift": _drift,
    "reset": _reset,
    "convert": _convert,
    "program": _program,
    "drift_inference": _drift_inference,
    "alpha": _alpha,
    "forward_eval": _forward_eval,
    "set_input_range": _set_input_range,
    "train_input_range": _train_input_range,
    "calibrate": _calibrate,
}


_OF_CHIPS = ("convert", "program")
"""Operations that a program begins with whose place is a chip, not a tile."""


def run_program(
    program: Program,
    shape: tuple[int, int],
    config: TileConfig,
    numbers: tuple[tuple[Numbers, ...], ...],
    key: Key,
) -> tuple[tuple[Outputs, ...], ...]:
    """Take one fresh tile through a program.

    Args:
        program: What to do (static).
        shape: Size of the tile, ``(out, in)``.
        config: Its configuration; numbers may be traced.
        numbers: As in :class:`Compiled`.
        key: Source of all noise.

    Returns:
        For each block and operation a dictionary from record suffix to values, with the
        repetitions as leading axis.
    """
    chip = any(operation.name in _OF_CHIPS for block in program for operation in block.pattern)
    state = None if chip else tile.init(config, fold(key, "init"), shape)
    # a chip takes streams, which compile faster than keys
    start = random.stream(key, random.NoiseEngine.COUNTER) if chip else key
    results = []
    for place, (block, values) in enumerate(zip(program, numbers, strict=True)):
        source = random.derive(start, place)

        def body(
            state: _Place, scanned: Any, block: Block = block, source: Noise = source
        ) -> tuple[_Place, tuple[Outputs, ...]]:
            turn, entries = scanned
            outputs = []
            for i, (operation, entry) in enumerate(zip(block.pattern, entries, strict=True)):
                own = random.derive(source, turn * len(block.pattern) + i)
                state, output = _RUN[operation.name](config, state, own, operation.options, *entry)
                outputs.append(output)
            return state, tuple(outputs)

        if block.repeats == 1:
            state, outputs = body(state, jax.tree.map(lambda value: value[0], (jnp.zeros(1, jnp.int32), values)))
            results.append(jax.tree.map(lambda value: value[None], outputs))
        else:
            state, outputs = lax.scan(body, state, (jnp.arange(block.repeats), values))
            results.append(outputs)
    return tuple(results)
