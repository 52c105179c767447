"""Calls of what has shapes in its signature.

Everything is traced only, so no program is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import aihwjax as aj
from aihwjax import nn, quantization, random
from aihwjax.nn.recurrent.cells import CELLS
from aihwjax.nn.slots import Slot
from aihwjax.optim import take_apart, training_step
from tests.compounds.table import COMPOUNDS
from tests.helpers import DEVICES, MODES
from tests.inference.test_conductance import CONVERTERS
from tests.inference.test_noise_models import MODELS
from tests.nn.models import exact, network, noisy, ranged
from tests.shapes.checking import unfitting

OUT, IN, N = 3, 4, 5
KEY = jax.random.key(0)


def live(config: aj.TileConfig, key: jax.Array) -> None:
    """Do all that can be done with a tile."""
    tile, x, d = aj.tile, jnp.ones((N, IN)), jnp.ones((N, OUT))
    state = tile.init(config, key, (OUT, IN))
    state = tile.set_weights(config, state, jnp.ones((OUT, IN)), key)
    state = tile.observe(config, tile.observe(config, state, x), d, backward=True)
    tile.forward_with_mask(config, state, x, key)
    for rows in (x, x[0], x[None]):
        tile.forward(config, state, rows, key)
    tile.backward(config, state, d, key)
    for mode in (*MODES, *[aj.UpdateMode.DIFFERENTIABLE] * config.device.has_derivatives()):
        state = tile.update(config.replace(update_mode=mode), state, x, d, 0.1, key)
    state = tile.drift(config, tile.diffuse(config, tile.decay(config, state, 1.0, key), key), 1.0, key)
    state = tile.clip(config, tile.end_of_batch(config, state, key), key, 0.5)
    state = tile.modify(config, tile.remap(config, state, key), key)
    if not isinstance(config.device, aj.FloatingPointDevice):
        state = tile.reset(config, state, 1, 2, 0.5, key)
    state = tile.redraw(config, tile.set_hidden_update_index(config, state, 0), key)
    tile.get_weights(config, state)
    if config.own_product is None:
        tile.get_weights(config, state, realistic=True, key=key)
    state, result = tile.program_weights(config, state, None, key, max_iterations=2)
    fits(result)
    hidden = tile.hidden_parameters(config, state)
    state = tile.set_hidden_parameters(config, state, hidden)
    if "up_pulses_0" in hidden:
        tile.pulse_counts(config, state)
    fits(state)


def fits(record: Any) -> None:
    """Refuse a record whose fields do not have the shapes that its class says."""
    wrong = unfitting(record)
    if wrong:
        raise TypeError(f"{type(record).__name__}: {', '.join(wrong)}")


def learn(config: aj.TileConfig, x: jax.Array, key: jax.Array) -> None:
    """Make a network, train it for a step and write its weights again."""
    model = network(config)
    optimizers = aj.analog_sgd(0.1), aj.analog_optimizer(optax.adam(0.1), learning_rate=0.1)

    def loss(model: nnx.Module, x: jax.Array, key: jax.Array) -> jax.Array:
        return nn.losses.MSELoss()(model(x, key=key), jnp.ones((*x.shape[:-1], OUT)))

    for layer in nn.analog_layers(model).values():
        rows = jnp.ones((N, layer.in_features))
        jax.grad(lambda rows, layer=layer: layer(rows, key=key).sum())(rows)
    nnx.grad(loss, argnums=nnx.DiffState(0, nn.TileVariable), allow_int=True)(model, x, key)
    _, gradients = nn.value_and_grad(loss)(model, x, key)
    for pair in gradients.analog.values():
        fits(Slot(*pair))
    for optimizer in optimizers:
        fits(optimizer.update(model, gradients, optimizer.init(model), key))
    nn.accumulate(loss)(model, x[None], key)
    model.set_weights(model.get_weights(), key=key)
    for layer in nn.analog_layers(model).values():
        layer.remap_weights(0.5, key=key)
        layer.redraw(key=key)
        layer.set_hidden_parameters(layer.hidden_parameters())
        if config is TILES["counted"]:
            layer.pulse_counts()
    nn.redraw(model, key=key)
    for tile in nn.analog_tiles(model).values():
        tile.set_hidden_parameters(tile.hidden_parameters())
        tile.end_of_batch(key)
        state = tile.state.get_value()
        fits(state if tile.count is None else jax.tree.map(lambda array: array[0], state))
    parts = take_apart(model)
    for optimizer in optimizers:
        training_step(loss, optimizer, parts)(parts.moving, optimizer.init(model), parts.fixed, key, x)


def numbers(key: jax.Array) -> None:
    """Draw what can be drawn."""
    for engine in random.NoiseEngine:
        stream = random.stream(random.derive(key, "a"), engine).child("b").child(jnp.asarray(1))
        for draw in (stream.normal, stream.uniform, stream.exponential, stream.exact_normal, stream.bits):
            draw((2, 3))
    place = random.spread(random.index((2, 3)))
    stream = random.stream(jax.random.PRNGKey(0), random.NoiseEngine.COUNTER)
    stream.bits((2, 3), place)
    stream.normal_at(random.index((2, 3)))
    random.derive(stream, jnp.asarray(1))
    random.normals(key, ["a"], (2, 3))
    random.uniforms(key, ["a"], (2, 3))
    random.uniform(key, (2, 3), -1, 1)
    random.fold(key, "a")


def losses(_: jax.Array) -> None:
    """Call each loss with each kind of targets."""
    values, targets, labels = jnp.ones((N, 3)), jnp.ones((N, 3)), jnp.zeros(N, int)
    for loss in (nn.losses.NLLLoss(), nn.losses.CrossEntropyLoss()):
        loss(values, labels)
    for loss in (nn.losses.CrossEntropyLoss(), nn.losses.MSELoss(), nn.losses.BCELoss()):
        loss(values, targets)
    nn.losses.MSELoss()(jnp.ones((N, 2, 3)), jnp.ones((N, 2, 3)))
    nn.losses.per_example(nn.losses.mse_loss)(values, targets)


def activations(_: jax.Array) -> None:
    """Call each activation."""
    kinds = [nn.GELU, nn.Identity, nn.LeakyReLU, nn.LogSigmoid, nn.LogSoftmax, nn.ReLU, nn.Sigmoid, nn.Softmax, nn.Tanh]
    model = nn.AnalogSequential(*(kind() for kind in kinds), nn.Function(jnp.sin), nn.Flatten())
    model(jnp.ones((N, 2, 3)))
    nn.Flatten()(jnp.ones(N))


def convolutions(key: jax.Array) -> None:
    """Call each convolution, and what stands between."""
    rngs, images = nnx.Rngs(0), jnp.ones((2, 6, 7, 4))
    model = nn.AnalogSequential(
        nn.ChannelsLast(),
        nn.AnalogConv2d(4, 4, (2, 3), feature_group_count=2, config=noisy(), rngs=rngs),
        nn.MaxPool(),
        nn.AnalogConvTranspose(4, 3, (2, 2), strides=2, padding="CIRCULAR", config=exact(max_input_size=9), rngs=rngs),
        nn.AvgPool(),
    )
    nn.Reshape((9, 3))(nn.ChannelsFirst()(model(jnp.moveaxis(images, -1, 1), key=key)))
    nn.AnalogConv(4, 2, (9, 9), padding=4, config=exact(), rngs=rngs)(images, key=key)
    parted = [nn.AnalogConv(4, 4, 2, patch_memory=1, config=config, rngs=rngs) for config in (ranged(), REMAPPED)]
    for layer in (model, *parted):
        x = jnp.moveaxis(images, -1, 1) if layer is model else images[0]
        _, gradients = nn.value_and_grad(lambda model, x: (model(x, key=key) ** 2).sum())(layer, x)
        optimizer = aj.analog_optimizer(optax.adam(0.1), learning_rate=0.1)
        optimizer.update(layer, gradients, optimizer.init(layer), key)


def generals(key: jax.Array) -> None:
    """Call layers over several axes and with low-rank parts, converted, without a key of their own."""
    rngs = nnx.Rngs(0)
    einsum = nnx.Einsum("...a,hab->h...b", (2, 3, 4), (2, 4), dtype=jnp.bfloat16, rngs=rngs)
    adapted = nnx.Sequential(einsum, nnx.LoRALinear(4, 2, lora_rank=1, rngs=rngs))
    nn.call(nn.convert_to_analog(adapted, exact(digital_bias=False)), jnp.ones((5, 3)), key=key)
    model = nn.convert_to_analog(nnx.LinearGeneral((2, 3), 4, axis=(-2, -1), rngs=rngs), exact(), key=0)
    nn.call(model, jnp.ones((5, 2, 3)), key=key)
    layers = [nnx.Linear(2, 3, rngs=rngs), nnx.Conv(2, 3, (2,), rngs=rngs), nnx.ConvTranspose(2, 3, (2,), rngs=rngs)]
    for cell in CELLS:
        layer = nn.AnalogRNN(cell, 2, 3, config=exact(), rngs=rngs)
        layer(jnp.ones((4, 5, 2)), key=key, seq_lengths=jnp.ones(4, int))
        one = layer.cells[0][0]
        one(one.initialize_carry((4, 2)), jnp.ones((4, 2)), key=key)
    nn.convert_to_digital(nn.convert_to_analog(nnx.List([model, *layers]), exact(), key=0))
    nn.AnalogTile(2, 3, analog_bias=False, config=exact(), key=key)


def summaries(_: jax.Array) -> None:
    """Sum up a call."""
    aj.analog_summary(network(exact()), jnp.ones((N, IN)))


def files(key: jax.Array) -> None:
    """Write the arrays of a file to a layer."""
    aj.load_weights(network(exact()), {"layers.0.weight": np.ones((6, 4))}, key=key)


def chips(key: jax.Array) -> None:
    """Program a tile by each noise model, and a network, let time pass and read them."""
    w, x = jnp.ones((OUT, IN)), jnp.ones((N, IN))
    compensations = (None, aj.GlobalDriftCompensationWithExactReference(), aj.PerColumnDriftCompensation())
    for number, model in enumerate(MODELS.values()):
        config = aj.InferenceRPUConfig(noise_model=model, drift_compensation=compensations[number % 3])
        t = 86400.0
        chip = aj.inference.program(config, w, key)
        fits(chip)
        chip = aj.inference.drift(config, chip, t, key)
        fits(chip)
        for rows in (x, x[0], x[None]):
            aj.inference.forward(config, chip, rows, key)
    broken = aj.InferenceRPUConfig(defects=aj.DefectParameter(stuck_high_prob=0.1, open_prob=0.1))
    chip = aj.inference.drift(broken, aj.inference.program(broken, w, key), 1.0, key)
    fits(chip)
    fits(chip.devices)
    for converter in CONVERTERS.values():
        aj.inference.convert_back(converter, *aj.inference.convert(converter, w))
    for size in (0, 2):
        mapping = aj.MappingParameter(max_input_size=size, max_output_size=size)
        for compensation in compensations:
            config = aj.InferenceRPUConfig(mapping=mapping, drift_compensation=compensation)
            late = aj.drift(aj.program(network(config), key), 1.0, key)
            late(x, key=key)
            for tile in nn.analog_tiles(late).values():
                kept = tile.chip.get_value()
                fits(kept if tile.count is None else jax.tree.map(lambda array: array[0], kept))
    nn.with_config(network(aj.InferenceRPUConfig()), {"forward.out_noise": 0.1}, key=key)(x, key=key)


def ranges(key: jax.Array) -> None:
    """Set, train and calibrate the input range of a tile and those of models."""
    x, d = jnp.ones((2, N, IN)), jnp.ones((N, OUT))
    config = ranged(init_from_data=3, out_bound=1.0, manage_output_clipping=True)
    state = aj.tile.set_input_range(config, aj.tile.init(config, key, (OUT, IN)), 2.0)
    fits(aj.tile.input_range_step(config, state, x[0], d, 0.1, key))
    fits(aj.tile.program_weights(exact(), state, jnp.zeros((OUT, IN)), key, x=x[0], max_iterations=2)[1])
    for method in aj.InputRangeCalibrationType:
        fits(aj.tile.calibrate(config, state, x, method, key=key))
        model = network(exact(max_input_size=2, max_output_size=2))
        for batches in (x, list(x), [((x[0],), {})]):
            aj.calibrate(model, batches, method, key=key)
        layer = nn.AnalogRNN("AnalogLSTMCell", IN, OUT, config=exact(), rngs=nnx.Rngs(0))
        aj.calibrate(layer, [x], method, key=key)
    nn.analog_tiles(model)["layers/0/tiles/0"].set_input_range(1.0)
    for layer in nn.analog_layers(model).values():
        layer.get_weights(realistic=True, key=key)
        layer.program_weights(key=key, max_iterations=2)


def quantised(key: jax.Array) -> None:
    """Quantise scales, bias and outputs, and search ranges, with channels and without."""
    x = jnp.ones((2, N, IN))
    for symmetric in (True, False):
        periphery = aj.PeripheryQuantizationParameter(n_bits=4, symmetric=symmetric, learn_quant_params=symmetric)
        config = exact(max_input_size=2, max_output_size=2, learn_out_scaling=True, weight_scaling_omega=0.6).replace(
            pre_post=aj.PrePostProcessingParameterQuant(periph_quant=periphery),
            act_quant_config=aj.ActivationQuantConfig(n_bits=4, symmetric=symmetric),
        )
        learn(config, x[0], key)
        layer = nn.AnalogLinear(IN, OUT, config=config, rngs=nnx.Rngs(0))
        aj.calibrate_quantization_ranges(layer, x, key=key)
        str(layer.output_quantizer), str(layer.tiles[0].scale_quantizer)
        for kind in aj.RangeEstimators:
            for method in aj.OptMethod:
                given = {"MSE": aj.MSEEstimatorParams, "cross_entropy": aj.CrossEntropyEstimatorParams}.get(kind.name)
                own = aj.ActivationQuantConfig(
                    n_bits=3, symmetric=symmetric, range_estimator=kind,
                    range_estimator_params=None if given is None else given(range_opt_method=method, num_candidates=2),
                )  # fmt: skip
                for channels in (None, N) if kind.name != "cross_entropy" else (None,):
                    state = quantization.advance_range(own, quantization.start_range(own, channels), x[0])
                    fits(state)
                    quantization.quantize(x[0], quantization.range_grid(own, state), 3)
    lower = aj.ActivationQuantConfig(
        n_bits=3, range_estimator="current_minmax",
        range_estimator_params=aj.CurrentMinMaxEstimatorParams(percentile=5),
    )  # fmt: skip
    quantization.advance_range(lower, quantization.start_range(lower, N), x[0])


def over_time(key: jax.Array) -> None:
    """Evaluate two chips at two times; computed, since values are handed over as NumPy arrays."""
    with jax.ensure_compile_time_eval():
        layer = nn.AnalogLinear(IN, OUT, config=aj.InferenceRPUConfig(), rngs=nnx.Rngs(0))
        x, y, seed = jnp.ones((N, IN)), jnp.zeros(N, int), jax.random.key(0)
        result = aj.evaluate_over_time(layer, (x, y), [0.0, 1.0], 2, seed)
        experiment = aj.BasicInferencing((np.ones((N, IN)), np.zeros(N, int)), layer, inference_repeats=1)
        chips = aj.run_local_inference(experiment, 0, progress=False)["chips"]
    assert len(chips) == 10
    fits(result)
    result.mean, result.std, result.rows()


def searches(key: jax.Array) -> None:
    """Search for tables of conductances; computed, since SciPy asks for values."""
    with jax.ensure_compile_time_eval():
        config = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True))
        small: dict[str, Any] = {"bins": 2, "test_shape": (OUT, IN), "draws": 1, "steps": 1, "generations": 1}
        found = aj.optimize_programming(config, jnp.ones(3), [1.0], 0, f_lst=(1.0, None), **small)
    fits(found)
    found.weights, found.conductances, str(found)


def curves(_: jax.Array) -> None:
    """Make curves of readings and ask for what is known of them."""
    made = aj.PulseCurves.from_arrays(np.arange(8.0).reshape(4, 2), [1, 1, -1], weight_range=(-1, 1))
    fits(made)
    made.known, made.conductance(made.weights)


def wrong(_: jax.Array) -> None:
    """Call a function whose annotation is wrong."""
    from tests.shapes.wrong import first_column

    first_column(jnp.ones((OUT, IN)))


MANAGED = aj.IOParameters(noise_management="AVERAGE_ABS_MAX", v_offset_std=0.1, w_read_asymmetry_dtod=0.1)
FROZEN = aj.IOParameters(out_nonlinearity=0.1, out_nonlinearity_std=0.1, slope_calibration=0.5, out_noise_std=0.3)
REMAPPED = aj.InferenceRPUConfig(
    remap=aj.WeightRemapParameter(type="CHANNELWISE_SYMMETRIC"),
    clip=aj.WeightClipParameter(type="FIXED_VALUE", fixed_value=0.5),
    modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1),
)
DRIFTING = aj.SoftBoundsDevice(drift=aj.DriftParameter(nu=0.1), lifetime=10.0, diffusion=0.1, corrupt_devices_prob=0.1)
COUNTED = aj.ConstantStepDevice(count_pulses=True)
OWN = aj.CustomRPUConfig(product=lambda c, w, x, k: x @ w.T, update=lambda c, w, x, d, rate, k: w - rate * d.T @ x)
TILES: dict[str, aj.TileConfig] = {
    **{name: aj.TileConfig(device=device) for name, device in {**DEVICES, **COMPOUNDS}.items()},
    "drifting": aj.TileConfig(device=DRIFTING),
    "counted": aj.TileConfig(device=aj.TransferCompound(unit_cell_devices=[COUNTED, COUNTED])),
    "managed": aj.SingleRPUConfig(forward=MANAGED, backward=MANAGED),
    "frozen": aj.SingleRPUConfig(forward=FROZEN, backward=FROZEN),
    "remapped": REMAPPED,
    "quirks": aj.TileConfig(device=DRIFTING, reference_quirks=True),
    "torch": aj.TorchInferenceRPUConfig(modifier=REMAPPED.modifier),
    "pulses": aj.TorchInferenceRPUConfigIRDropT(
        forward=aj.IOParametersIRDropT(mv_type="BIT_WISE", apply_xdep_pcm_read_noise=True)
    ),
}
TRAINED: dict[str, tuple[aj.TileConfig, tuple[int, ...]]] = {
    "network": (noisy(), (N, 4)),
    "arrays": (exact(max_input_size=2, max_output_size=2), (2, N, 4)),
    "analog bias": (exact(digital_bias=False, learn_out_scaling=True), (N, 4)),
    "scales": (exact(weight_scaling_omega=0.6, weight_scaling_columnwise=True), (N, 4)),
    "ranges": (ranged(init_from_data=3, out_bound=1.0, manage_output_clipping=True), (N, 4)),
    "managed": (TILES["managed"], (N, 4)),
    "counted": (TILES["counted"], (N, 4)),
    "own": (OWN, (N, 4)),
    "inference": (REMAPPED.replace({"mapping.max_input_size": 3}), (2, N, 4)),
    "torch": (TILES["torch"].replace({"mapping.max_input_size": 3}), (2, N, 4)),
}
CALLS: dict[str, Callable[[jax.Array], None]] = {
    **{f"tile: {name}": partial(live, config) for name, config in TILES.items()},
    "many tiles": lambda key: jax.vmap(lambda key: live(REMAPPED, key))(jax.random.split(key, 2)),
    **{f"training: {name}": partial(learn, config, jnp.ones(shape)) for name, (config, shape) in TRAINED.items()},
    "numbers": numbers,
    "losses": losses,
    "activations": activations,
    "convolutions": convolutions,
    "generals": generals,
    "summaries": summaries,
    "files": files,
    "chips": chips,
    "ranges": ranges,
    "quantised": quantised,
    "over time": over_time,
    "searches": searches,
    "curves": curves,
    "wrong": wrong,
}
"""What is called, by name, with a key."""


def problem(call: Callable[[jax.Array], None]) -> str | None:
    """Return what goes wrong in a call."""
    try:
        jax.eval_shape(call, KEY)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
