"""What people who come from aihwkit look for, and what is here in its place; for one line in an error.

The guide "Coming from aihwkit" says more.
"""

from __future__ import annotations

_STEPS = (
    "and state = optimizer.init(model); then for each batch value, gradients = "
    "aj.nn.value_and_grad(loss)(model, x, key) and state = optimizer.update(model, gradients, state, key)"
)
_PARAMETERS = (
    "nnx.state(model, nnx.Param) has the digital parameters, model.get_weights() the weights of tiles; optimizers take "
    "the model itself: aj.analog_sgd(0.1).init(model)"
)
_SAVED = "aj.save(folder, model) and aj.load(folder, model) keep a model; nnx.state(model) has all of its arrays"
_PLACED = "arrays are where JAX puts them: see jax.device_put and jax.default_device"
_PARTS = "nnx.iter_modules(model) has all modules with their paths, aj.nn.analog_layers(model) the analog layers"
_NO_STORE = "gradients are values, nothing is kept: value, gradients = aj.nn.value_and_grad(loss)(model, x, key)"

NAMES = {
    "AnalogSGD": f"write optimizer = aj.analog_sgd(0.1), with the learning rate, {_STEPS}",
    "SGD": f"write optimizer = aj.analog_sgd(0.1), with the learning rate, {_STEPS}",
    "AnalogAdam": f"write optimizer = aj.analog_optimizer(optax.adam(1e-3)), {_STEPS}",
    "AnalogOptimizer": f"write optimizer = aj.analog_optimizer(optax.sgd(0.1)), or another of optax, {_STEPS}",
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

MODULES = {
    "parameters": _PARAMETERS,
    "named_parameters": _PARAMETERS,
    "analog_modules": "aj.nn.analog_layers(model) has the analog layers by path, aj.nn.analog_tiles(model) the tiles",
    "analog_layers": "aj.nn.analog_layers(model) has the analog layers by path, aj.nn.analog_tiles(model) the tiles",
    "modules": _PARTS,
    "named_modules": _PARTS,
    "children": _PARTS,
    "named_children": _PARTS,
    "state_dict": _SAVED,
    "load_state_dict": _SAVED,
    "zero_grad": _NO_STORE,
    "backward": _NO_STORE,
    "requires_grad_": "give the layer the rate 0 by its path: aj.analog_sgd({'layers/0': 0.0, 'default': 0.1})",
    "forward": "call the model itself: model(x, key=key)",
    "to": _PLACED,
    "cuda": _PLACED,
    "cpu": _PLACED,
    "remap_analog_weights": "aj.tile.remap(config, state, key) does it for a tile",
    "drift_analog_weights": "aj.drift(model, t, key) returns a model as it is after t seconds",
    "program_analog_weights": "aj.program(model, key) returns a model that is programmed",
}
"""Attributes of a model and of any module in it."""

ATTRIBUTES = {
    "weight": "its tiles have the weights: layer.get_weights(), and layer.set_weights(weights, bias, key=key)",
    "weights": "its tiles have the weights: layer.get_weights(), and layer.set_weights(weights, bias, key=key)",
    "config": "its tiles have configurations: layer.analog_tiles()[0].config; layer.redraw({path: value}, key=key) "
    "draws its devices with other numbers",
    "kernel": "its tiles have the weights: layer.get_weights(); a model that reads kernels needs the layer in exclude=",
    "analog_module": "layer.analog_tiles() has its tiles",
    "rpu_config": "each tile has its configuration: layer.analog_tiles()[0].config",
    "read_weights": "layer.get_weights(realistic=True, key=key) reads through the converters",
}
"""Attributes of a layer, besides those of any module."""

TILES = {
    "weight": "tile.get_weights() has the weights, tile.set_weights(weights, key) writes them",
    "weights": "tile.get_weights() has the weights, tile.set_weights(weights, key) writes them",
    "rpu_config": "tile.config has its configuration",
    "device": "tile.config.device has the numbers of its devices, tile.hidden_parameters() those that were drawn",
}
"""Attributes of a tile, besides those of any module."""

ASSIGNED = {
    "bias": "write layer.bias.set_value(array), or layer.set_weights(weights, bias, key=key)",
    "config": "write tile.config.set_value(config) for numbers that act at once, or tile.redraw(config, key=key), "
    "which draws its devices anew",
    "state": "write tile.state.set_value(state), with a state of the functions of aj.tile",
}
"""What is a variable of a module, and how it is changed."""


def hint(name: str, known: dict[str, str]) -> str:
    """Return what an error adds about a name: nothing, or what is here in its place.

    Args:
        name: What was looked for.
        known: One of the tables of this module.
    """
    return f": {known[name]}" if name in known else ""
