"""What people who come from aihwkit look for, and what is here in its place; for one line in an error.

The guide "Coming from aihwkit" says more.
"""

from __future__ import annotations

NAMES = {
    "AnalogSGD": "an optax transformation, aj.analog_sgd(learning_rate), which aj.optim.AnalogSGD applies to a model",
    "AnalogAdam": "aj.analog_optimizer(optax.adam(1e-3))",
    "AnalogOptimizer": "aj.analog_optimizer(transformation), which takes any transformation of optax",
    "AnalogLinear": "aj.nn.AnalogLinear",
    "AnalogSequential": "aj.nn.AnalogSequential",
    "AnalogTile": "aj.nn.AnalogTile of a layer, or the functions of aj.tile",
    "AnalogConv1d": "aj.nn.AnalogConv1d, whose images have their channels last",
    "AnalogConv2d": "aj.nn.AnalogConv2d, whose images have their channels last",
    "AnalogConv3d": "aj.nn.AnalogConv3d, whose images have their channels last",
    "AnalogRNN": "aj.nn.AnalogRNN",
    "LocalTrainer": "aj.LocalRunner, or the function aj.run_local",
    "calibrate_input_ranges": "aj.calibrate(model, batches, method, key=key)",
    "parse_config": "aj.config.from_toml",
}
"""Names of the package."""

ATTRIBUTES = {
    "weight": "its tiles have the weights: layer.get_weights(), and layer.set_weights(weights, bias, key=key)",
    "weights": "its tiles have the weights: layer.get_weights(), and layer.set_weights(weights, bias, key=key)",
    "config": "its tiles have configurations: next(layer.analog_tiles()).config; layer.redraw({path: value}, key=key) "
    "draws its devices with other numbers",
    "kernel": "its tiles have the weights: layer.get_weights(); a model that reads kernels needs the layer in exclude=",
    "parameters": "nnx.state(model, nnx.Param) has the digital parameters; aj.analog_sgd trains tiles and these",
    "analog_module": "layer.analog_tiles() has its tiles",
    "rpu_config": "each tile has its configuration: next(layer.analog_tiles()).config",
    "state_dict": "aj.save(folder, model) and aj.load(folder, model) keep a model",
    "load_state_dict": "aj.save(folder, model) and aj.load(folder, model) keep a model",
    "to": "arrays are where JAX puts them: see jax.device_put and jax.default_device",
    "cuda": "arrays are where JAX puts them: see jax.device_put and jax.default_device",
    "remap_analog_weights": "aj.tile.remap(config, state, key) does it for a tile",
    "drift_analog_weights": "aj.drift(model, t, key) returns a model as it is after t seconds",
    "read_weights": "layer.get_weights(realistic=True, key=key) reads through the converters",
    "program_analog_weights": "aj.program(model, key) returns a model that is programmed",
}
"""Attributes of a layer."""


def hint(name: str, known: dict[str, str]) -> str:
    """Return what an error adds about a name: nothing, or what is here in its place.

    Args:
        name: What was looked for.
        known: ``NAMES`` or ``ATTRIBUTES``.
    """
    return f": {known[name]}" if name in known else ""
