"""Setting the ranges of quantised outputs by data, without training (spec: inference, section 13)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aihwjax import arguments, random
from aihwjax.errors import ConfigError, ModuleError
from aihwjax.nn.passing import Batch, passed_all
from aihwjax.nn.paths import path_text
from aihwjax.nn.programming import tiles_of
from aihwjax.nn.quantized import OutputQuantizer
from aihwjax.nn.variables import OutputRange
from aihwjax.quantization import is_unknown
from aihwjax.random import Noise


@arguments.answered
def calibrate_quantization_ranges(
    model: nnx.Module, batches: Iterable[Batch], max_num_batches: int = 20, *, key: Noise, fix: bool = True
) -> None:
    """Set the ranges of all quantised outputs of a model by the outputs that it has, in place.

    The data pass once through the model in evaluation mode, with its noise, and each quantiser rounds to the range that
    it has found so far. Steps of scales and bias need no data. Input ranges come first: see :func:`aihwjax.calibrate`.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> import aihwjax as aj
        >>> config = aj.QuantizedTorchInferenceRPUConfig(act_quant_config=aj.ActivationQuantConfig(n_bits=8))
        >>> layer = aj.nn.AnalogLinear(4, 3, config=config, rngs=nnx.Rngs(0))
        >>> batches = jax.random.normal(jax.random.key(0), (5, 16, 4))
        >>> aj.calibrate_quantization_ranges(layer, batches, key=0)
        >>> int(layer.output_quantizer.range.get_value().batches)
        5

    Args:
        model: Any NNX module with analog layers. It is changed in place; ``nnx.clone(model)`` makes a copy before.
        batches: As for :func:`aihwjax.calibrate`.
        max_num_batches: Most batches that are taken.
        key: Source of all noise.
        fix: Whether the ranges stay from now on, in training too. Otherwise training goes on from them.

    Raises:
        ModuleError: If the model has no analog layer, or a layer is called where its outputs are not seen.
        ConfigError: If no output is to be quantised, or an argument is not allowed.
        DataError: If there is no batch, or one is no input.
    """
    whole = isinstance(max_num_batches, int | np.integer) and not isinstance(max_num_batches, bool)
    if not whole or max_num_batches < 1:
        raise ConfigError(f"max_num_batches={max_num_batches!r} is not allowed: give a whole number of at least 1")
    tiles_of(model)
    if not _quantizers(model):
        raise ConfigError(
            "a model without quantised outputs is not allowed: build it with QuantizedTorchInferenceRPUConfig and "
            "act_quant_config=ActivationQuantConfig(n_bits=8)"
        )
    copy = nnx.clone(model)
    copy.eval()
    for quantizer in _quantizers(copy):
        quantizer.estimating = True
        quantizer.range.set_value(_fixed(quantizer, False))
    graph, ranges, rest = nnx.split(copy, OutputRange, ...)  # type: ignore[misc]
    if isinstance(batches, jax.Array | np.ndarray):
        taken: Any = batches[:max_num_batches]
    else:
        taken = itertools.islice(batches, max_num_batches)
    ranges = passed_all(OutputRange, graph, rest, ranges, taken, random.as_noise(key))
    nnx.update(copy, ranges)
    for quantizer, found in zip(_quantizers(model), _quantizers(copy), strict=True):
        quantizer.range.set_value(_fixed(found, fix))


def _quantizers(model: nnx.Module) -> list[OutputQuantizer]:
    return [part for _, part in nnx.iter_modules(model) if isinstance(part, OutputQuantizer)]


def _fixed(quantizer: OutputQuantizer, fixed: bool) -> Any:
    state = quantizer.range.get_value()
    return dataclasses.replace(state, fixed=jnp.full(state.fixed.shape, fixed))


def refuse_unknown_ranges(model: nnx.Module) -> None:
    """Refuse a model whose outputs are to be quantised in a range that is not known.

    Args:
        model: Any NNX module.

    Raises:
        ModuleError: If it has one; names the first.
    """
    for path, part in nnx.iter_modules(model):
        if isinstance(part, OutputQuantizer) and is_unknown(part.range.get_value()):
            place = path_text(path[:-1])
            raise ModuleError(
                f"the range of the quantised outputs of {place} is not known: train the model, or give data to "
                "aihwjax.calibrate_quantization_ranges"
            )
