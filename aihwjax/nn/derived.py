"""Words for a gradient that leaves tiles out: which layer of the model it is, how it learns, and what to call."""

from __future__ import annotations

import inspect

from flax import nnx

from aihwjax.devices.floating_point import FloatingPointDevice
from aihwjax.tile.config import TileConfig


def left_out(config: TileConfig) -> str:
    """Return what a gradient of Flax with respect to the parameters of a layer leaves out, and the right call.

    Args:
        config: The configuration of the layer's tiles.
    """
    gradient = "this gradient with respect to its parameters leaves the weights of its tiles out, which"
    steps = "take gradients by aihwjax.nn.value_and_grad and steps by"
    if config.inference:
        return (
            f"{gradient} are no nnx.Param: {steps} aihwjax.analog_optimizer(optax.adam(1e-3)), or differentiate "
            "nnx.Any(nnx.Param, aihwjax.nn.TileVariable) and step with optax itself"
        )
    alone = "aihwjax.analog_sgd(0.0, digital=...) trains the digital parameters alone"
    if config.own_update is not None:
        how = "learn by the update of their configuration"
    elif isinstance(config.device, FloatingPointDevice):
        how = "learn by exact gradient descent from x and d"
    else:
        how = "learn by pulses made of x and d"
    return f"{gradient} {how}: {steps} aihwjax.analog_sgd; {alone}"


def place_in_model(layer: nnx.Module) -> str:
    """Return the path of a layer in the model that is being called, such as ``layers/1``; empty if there is none.

    A layer does not know the model that it is part of. The functions that are calling do: the outermost of them
    that holds a module around the layer holds the model.

    Args:
        layer: The layer.
    """
    frame, path = inspect.currentframe(), ""
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if isinstance(value, nnx.Module) and value is not layer:
                found = [place for place, part in nnx.iter_modules(value) if part is layer]
                path = "/".join(map(str, found[0])) if found else path
        frame = frame.f_back
    return path
