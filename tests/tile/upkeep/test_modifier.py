"""Weight modifiers: their formulas, when a copy is drawn and who reads it (spec: tile_ops, section 10)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aihwjax as aj
from aihwjax import tile
from aihwjax.random import NoiseEngine, stream
from aihwjax.tile.upkeep.modifier import largest, modified

Kind = aj.WeightModifierType
PERFECT = aj.IOParameters(is_perfect=True)
WEIGHTS = jnp.asarray([[0.8, 0.31, -0.12, 0.0], [-0.5, 0.05, 0.27, -0.44]])
DRAWS = 4000


def draw(parameter: aj.WeightModifierParameter, weights: jax.Array, key: jax.Array, **rules: bool) -> jax.Array:
    return modified(parameter, weights, stream(key, NoiseEngine.COUNTER), **rules)


def many(
    parameter: aj.WeightModifierParameter, key: jax.Array, weights: jax.Array = WEIGHTS, **rules: bool
) -> np.ndarray:
    """Return many independent copies, ``(DRAWS, out, in)``."""
    keys = jax.random.split(key, DRAWS)
    draws = jax.vmap(lambda own: draw(parameter, weights, own, **rules))(keys)
    return np.asarray(draws, np.float64)


def made(key: jax.Array, weights: jax.Array = WEIGHTS, **fields: object) -> tuple[aj.TileConfig, aj.tile.TileState]:
    config = aj.InferenceRPUConfig(forward=PERFECT, **fields)
    state = tile.init(config, key, weights.shape)
    return config, tile.set_weights(config, state, weights, key)


def seen(config: aj.TileConfig, state: tile.TileState, key: jax.Array, training: bool = True) -> np.ndarray:
    """Return the weights as a perfect product sees them."""
    size = state.shape[1]
    return np.asarray(tile.forward(config, state, jnp.eye(size), key, training=training).T)


# ------------------------------------------------------------------------- formulas
@pytest.mark.parametrize(
    ("fields", "rules", "expected"),
    [
        ({"type": "COPY"}, {}, [0.8, 0.31, -0.12, 0.0]),
        ({"type": "DROP_CONNECT"}, {}, [0.8, 0.31, -0.12, 0.0]),
        # the check values of the specification
        ({"type": "DISCRETIZE", "res": 0.25}, {"quirks": True}, [0.8, 0.4, -0.2, 0.0]),
        ({"type": "DISCRETIZE", "res": 0.25}, {}, [0.8, 0.4, 0.0, 0.0]),
        ({"type": "DISCRETIZE", "res": 0.25}, {"quirks": True, "torch_tile": True}, [0.8, 0.4, 0.0, 0.0]),
        ({"type": "DISCRETIZE", "res": 4}, {}, [0.8, 0.4, 0.0, 0.0]),
        ({"type": "DISCRETIZE", "res": 4}, {"quirks": True}, [0.0, 0.0, 0.0, 0.0]),
        ({"type": "DISCRETIZE", "res": 0.1, "rel_to_actual_wmax": False}, {}, [0.8, 0.4, -0.2, 0.0]),
        ({"type": "DISCRETIZE_ADD_NORMAL", "res": 0.25}, {}, [0.8, 0.4, 0.0, 0.0]),
        ({"type": "ADD_NORMAL"}, {}, [0.8, 0.31, -0.12, 0.0]),
        ({"type": "DISCRETIZE", "res": 0.25, "copy_last_column": True}, {}, [0.8, 0.4, 0.0, 0.0]),
        ({"type": "COPY", "pdrop": 1.0}, {}, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_copies_without_noise(fields: dict, rules: dict, expected: list[float], key: jax.Array) -> None:
    weights = jnp.asarray([[0.8, 0.31, -0.12, 0.0]])
    copy = draw(aj.WeightModifierParameter(**fields), weights, key, **rules)
    assert np.allclose(copy, [expected], atol=1e-6)


def test_halves_are_rounded_away_from_zero(key: jax.Array) -> None:
    parameter = aj.WeightModifierParameter(type="DISCRETIZE", res=0.25)
    copy = draw(parameter, jnp.asarray([[0.25, -0.25, 0.75, 1.0]]), key)
    assert np.allclose(copy, [[0.5, -0.5, 1.0, 1.0]])


def test_dorefa(key: jax.Array) -> None:
    parameter = aj.WeightModifierParameter(type="DOREFA", res=0.05)
    squeezed = np.tanh(np.asarray(WEIGHTS)) * 0.6 / np.tanh(0.8)
    for quirks, step in ((True, 0.05), (False, 0.1)):
        expected = np.sign(squeezed) * np.floor(np.abs(squeezed) / step + 0.5) * step
        assert np.allclose(draw(parameter, WEIGHTS, key, quirks=quirks), expected, atol=1e-6)


def polynomial(coeffs: tuple[float, ...], z: np.ndarray) -> np.ndarray:
    return sum(c * z**k for k, c in enumerate(coeffs))


MAGNITUDES = np.abs(np.asarray(WEIGHTS, np.float64))
COEFFS = (0.3, 0.5, -0.2)


@pytest.mark.parametrize(
    ("fields", "rules", "spread"),
    [
        ({"type": "ADD_NORMAL", "std_dev": 0.1}, {}, 0.08 * np.ones((2, 4))),
        (
            {"type": "ADD_NORMAL", "std_dev": 0.1, "rel_to_actual_wmax": False, "assumed_wmax": 2},
            {},
            0.2 * np.ones((2, 4)),
        ),
        ({"type": "MULT_NORMAL", "std_dev": 0.1}, {}, 0.08 * MAGNITUDES),
        ({"type": "MULT_NORMAL", "std_dev": 0.1}, {"torch_tile": True}, 0.1 * MAGNITUDES),
        ({"type": "POLY", "std_dev": 0.4, "coeffs": COEFFS}, {}, 0.32 * polynomial(COEFFS, MAGNITUDES / 0.8)),
        # a large g_max, so that no weight but zero is likely to change its sign
        (
            {"type": "PROG_NOISE", "std_dev": 1.0, "g_max": 50, "coeffs": COEFFS},
            {},
            0.8 / 50 * polynomial(COEFFS, MAGNITUDES / 0.8),
        ),
    ],
)
def test_mean_and_spread(fields: dict, rules: dict, spread: np.ndarray, key: jax.Array) -> None:
    draws = many(aj.WeightModifierParameter(**fields), key, **rules)
    n = len(draws)
    normal = (MAGNITUDES > 0) | (fields["type"] != "PROG_NOISE")
    assert (np.abs(draws.mean(0) - np.asarray(WEIGHTS)) <= 5 * spread / np.sqrt(n) + 1e-6)[normal].all()
    assert (np.abs(draws.std(0) - spread) <= 5 * spread / np.sqrt(2 * n) + 1e-6)[normal].all()


def test_programming_noise_keeps_signs(key: jax.Array) -> None:
    parameter = aj.WeightModifierParameter(type="PROG_NOISE", std_dev=20.0, coeffs=COEFFS)
    draws = many(parameter, key)
    weights = np.asarray(WEIGHTS)
    assert (draws[:, weights < 0] <= 0).all() and (draws[:, weights >= 0] >= 0).all()
    # of a weight of zero the magnitude of a normal is left
    spread = 20 / 25 * 0.8 * COEFFS[0]
    zero, n = draws[:, 0, 3], len(draws)
    half_normal = spread * np.sqrt(1 - 2 / np.pi)
    assert zero.mean() == pytest.approx(spread * np.sqrt(2 / np.pi), abs=5 * half_normal / np.sqrt(n))


def test_stochastic_rounding_is_right_on_average(key: jax.Array) -> None:
    parameter = aj.WeightModifierParameter(type="DISCRETIZE", res=0.1, sto_round=True)
    draws = many(parameter, key)
    step = 0.2 * 0.8
    assert np.allclose(draws / step, np.round(draws / step), atol=1e-5)
    inside = (MAGNITUDES / step) % 1
    spread = step * np.sqrt(inside * (1 - inside))
    assert (np.abs(draws.mean(0) - np.asarray(WEIGHTS)) <= 5 * spread / np.sqrt(len(draws)) + 1e-5).all()


@pytest.mark.parametrize("kind", [Kind.COPY, Kind.DROP_CONNECT, Kind.ADD_NORMAL, Kind.PCM_NOISE])
def test_dropped_weights(kind: aj.WeightModifierType, key: jax.Array) -> None:
    parameter = aj.WeightModifierParameter(type=kind, pdrop=0.3, copy_last_column=True, std_dev=0.01)
    weights = jnp.full((20, 30), 0.5)
    copy = np.asarray(draw(parameter, weights, key))
    assert np.array_equal(copy[:, -1], weights[:, -1])
    dropped = copy[:, :-1] == 0
    assert dropped.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / dropped.size))


def test_the_last_column_stays_and_does_not_count(key: jax.Array) -> None:
    weights = jnp.asarray([[0.2, -0.4, 3.0]])
    parameter = aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1, copy_last_column=True)
    assert float(largest(parameter, weights)) == pytest.approx(0.4)
    assert float(largest(parameter.replace(copy_last_column=False), weights)) == 3.0
    assert float(largest(parameter, jnp.ones((2, 1)))) == 1.0
    copy = draw(parameter, weights, key)
    assert float(copy[0, 2]) == 3.0 and not np.isclose(copy[0, 0], 0.2)


# ------------------------------------------------------------------ phase-change memory
PCM = {"type": "PCM_NOISE", "std_dev": 1.0}


def test_pcm_noise_has_the_spread_of_programming_and_reading(key: jax.Array) -> None:
    weights = jnp.asarray([[1.0, 0.5, -0.25, 0.0]])
    draws = many(aj.WeightModifierParameter(**PCM), key, weights)[:, 0]
    z = np.asarray([1.0, 0.5, 0.25])
    programming = (0.26348 + 1.9650 * z - 1.1731 * z**2) / 25
    reading = z * np.minimum(0.0088 / z**0.65, 0.2) * np.sqrt(np.log((20 + 250e-9) / 500e-9))
    spread, n = np.hypot(programming, reading), len(draws)
    # the strength of the read noise follows the programmed conductance, which shifts it by a few percent at most
    assert np.allclose(draws[:, :3].std(0), spread, rtol=0.04 + 5 / np.sqrt(2 * n))
    assert np.allclose(draws[:, :3].mean(0), [1.0, 0.5, -0.25], atol=5 * spread.max() / np.sqrt(n) + 1e-3)
    assert (draws[:, 3] == 0).all()


def test_pcm_noise_without_strength_is_the_clipped_weight(key: jax.Array) -> None:
    parameter = aj.WeightModifierParameter(type="PCM_NOISE", rel_to_actual_wmax=False, assumed_wmax=0.5)
    assert np.allclose(draw(parameter, WEIGHTS, key), jnp.clip(WEIGHTS, -0.5, 0.5), atol=1e-6)


def test_pcm_drift_varies_but_only_downwards(key: jax.Array) -> None:
    weights = jnp.full((1, 4), 1.0)
    parameter = aj.WeightModifierParameter(type="PCM_NOISE", pcm_t_inference=1e6)
    draws = many(parameter, key, weights).ravel()
    exponents = -np.log(draws) / np.log((1e6 + 20) / 20)
    n = exponents.size
    # at the largest conductance the typical exponent is at its lower limit 0.008
    assert (exponents >= -1e-6).all()
    assert exponents.mean() == pytest.approx(0.008 * np.sqrt(2 / np.pi), rel=5 * 0.76 / np.sqrt(n) + 1e-3)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("pcm_prob_at_reset", {0.0}),
        # the other device of the pair is stuck: both together hold 0.4 + 1, clipped, or |0.4 - 1|
        ("pcm_prob_at_gmax", {1.0, 0.6}),
    ],
)
def test_pcm_faults(field: str, values: set[float], key: jax.Array) -> None:
    weights = jnp.full((60, 60), 0.4)
    parameter = aj.WeightModifierParameter(type="PCM_NOISE", rel_to_actual_wmax=False, **{field: 0.2})
    copy = np.asarray(draw(parameter, weights, key), np.float64)
    broken = ~np.isclose(copy, 0.4)
    assert broken.mean() == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / copy.size))
    assert {round(float(v), 4) for v in copy[broken]} == values


def test_pcm_random_faults_and_threshold(key: jax.Array) -> None:
    weights = jnp.full((60, 60), -0.4)
    parameter = aj.WeightModifierParameter(type="PCM_NOISE", rel_to_actual_wmax=False, pcm_prob_at_random=1.0)
    copy = np.asarray(draw(parameter, weights, key), np.float64)
    assert (copy <= 0).all()
    assert copy.mean() == pytest.approx(-0.5, abs=5 * np.sqrt(1 / 12 / copy.size))
    small = aj.WeightModifierParameter(**PCM, rel_to_actual_wmax=False, pcm_zero_thres=2.0)
    edge = 2 * 0.26348 / 25
    copy = np.asarray(draw(small, jnp.asarray([[0.9 * edge, -0.9 * edge, 1.1 * edge]]), key))
    assert (copy[0, :2] == 0).all() and copy[0, 2] > 0


# ------------------------------------------------------------------ when and for whom
def test_training_reads_the_copy_and_evaluation_the_weights(key: jax.Array) -> None:
    parameter = aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1)
    config, state = made(key, modifier=parameter)
    assert np.allclose(seen(config, state, key), WEIGHTS), "unmodified before the first end of a batch"
    state = tile.end_of_batch(config, state, key)
    assert np.array_equal(state.weights, WEIGHTS)
    assert np.allclose(seen(config, state, key), state.modified)
    assert not np.allclose(state.modified, WEIGHTS)
    assert np.allclose(seen(config, state, key, training=False), WEIGHTS)
    d = jnp.eye(2)
    assert np.allclose(tile.backward(config, state, d, key), state.modified)
    assert np.allclose(tile.backward(config, state, d, key, training=False), WEIGHTS)
    tested = config.replace({"modifier.enable_during_test": True})
    assert np.allclose(seen(tested, state, key, training=False), state.modified)


def test_each_end_of_batch_draws_a_new_copy_of_the_same_weights(key: jax.Array) -> None:
    config, state = made(key, modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1))
    copies = [tile.end_of_batch(config, state, jax.random.fold_in(key, i)).modified for i in (0, 0, 1)]
    assert np.array_equal(copies[0], copies[1])
    assert not np.allclose(copies[0], copies[2])


@pytest.mark.parametrize("change", ["set_weights", "decay", "update"])
@pytest.mark.parametrize("quirks", [False, True])
def test_a_change_of_the_weights_replaces_the_copy(change: str, quirks: bool, key: jax.Array) -> None:
    """Trap 3: the reference reads the old copy until the next end of a batch."""
    config, state = made(key, modifier=aj.WeightModifierParameter(type="COPY", pdrop=0.99), reference_quirks=quirks)
    config = config.replace({"device.lifetime": 2.0})

    def changed(state: tile.TileState) -> tile.TileState:
        if change == "set_weights":
            return tile.set_weights(config, state, 0.5 * WEIGHTS, key)
        if change == "decay":
            return tile.decay(config, state, 1.0, key)
        return tile.update(config, state, jnp.eye(4), 0.5 * WEIGHTS.T, 1.0, key)

    assert np.allclose(seen(config, changed(state), key), 0.5 * WEIGHTS), "no copy has been drawn so far"
    drawn = tile.modify(config, state, key)
    after = changed(drawn)
    assert np.allclose(after.weights, 0.5 * WEIGHTS)
    assert np.allclose(seen(config, after, key), drawn.modified if quirks else 0.5 * WEIGHTS)


def test_the_backward_product_of_an_evaluation(key: jax.Array) -> None:
    """Trap 6: the reference reads the copy even then; the check value of the specification."""
    for quirks, expected in ((False, 2.0), (True, 0.0)):
        parameter = aj.WeightModifierParameter(type="DROP_CONNECT", pdrop=1.0)
        config, state = made(key, jnp.full((1, 1), 2.0), modifier=parameter, reference_quirks=quirks)
        state = tile.end_of_batch(config, state, key)
        assert float(tile.forward(config, state, jnp.ones(1), key)[0]) == 2.0
        assert float(tile.backward(config, state, jnp.ones(1), key, training=False)[0]) == expected


def test_a_state_can_be_donated(key: jax.Array) -> None:
    config, state = made(key, modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1))
    state = tile.clip(config, state, key, limit=0.3)
    assert np.array_equal(state.modified, state.weights)
    doubled = jax.jit(lambda state: jax.tree.map(lambda a: 2 * a, state), donate_argnums=0)(state)
    assert np.allclose(doubled.modified, 2 * jnp.clip(WEIGHTS, -0.3, 0.3))


def test_a_torch_tile_has_a_copy_at_once(key: jax.Array) -> None:
    config = aj.TorchInferenceRPUConfig(
        forward=PERFECT, modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1)
    )
    state = tile.set_weights(config, tile.init(config, key, (2, 4)), WEIGHTS, key)
    assert not np.allclose(seen(config, state, key), WEIGHTS)
    assert np.allclose(seen(config, state, key, training=False), WEIGHTS)


def test_the_modifier_sees_clipped_and_remapped_weights(key: jax.Array) -> None:
    config, state = made(
        key,
        clip=aj.WeightClipParameter(type="FIXED_VALUE", fixed_value=0.4),
        remap=aj.WeightRemapParameter(type="LAYERWISE_SYMMETRIC"),
        modifier=aj.WeightModifierParameter(type="COPY", pdrop=1e-9),
    )
    state = tile.end_of_batch(config, state, key)
    assert np.allclose(state.modified, jnp.clip(WEIGHTS, -0.4, 0.4) / 0.4, atol=1e-6)
    assert np.allclose(state.mapping_scales, 0.4)


# ----------------------------------------------------------------- costs and sweeps
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"type": "COPY"},
        {"type": "ADD_NORMAL"},
        {"type": "DISCRETIZE"},
        {"type": "POLY", "std_dev": 1, "coeffs": ()},
    ],
)
def test_what_is_off_is_absent(fields: dict, key: jax.Array) -> None:
    parameter = aj.WeightModifierParameter(**fields)
    assert not parameter.acts()
    config, state = made(key, modifier=parameter)
    assert state.modified is None
    plain, bare = made(key)

    def program(config: aj.TileConfig, state: tile.TileState) -> str:
        return str(jax.make_jaxpr(lambda state: tile.end_of_batch(config, state, key))(state))

    assert program(config, state) == program(plain, bare)


def test_a_swept_strength_and_a_changed_number(key: jax.Array) -> None:
    def spread(std_dev: jax.Array) -> jax.Array:
        parameter = aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=std_dev)
        config, state = made(key, jnp.ones((30, 40)), modifier=parameter)
        return tile.end_of_batch(config, state, key).modified.std()

    values = jnp.asarray([0.0, 0.1, 0.3])
    swept = jax.vmap(spread)(values)
    assert np.allclose(swept, [spread(value) for value in values], rtol=1e-5)
    assert np.allclose(swept, values, rtol=5 / np.sqrt(2 * 1200))

    traces = []

    @jax.jit
    def step(config: aj.TileConfig, state: tile.TileState, key: jax.Array) -> tile.TileState:
        traces.append(1)
        return tile.end_of_batch(config, state, key)

    config, state = made(key, modifier=aj.WeightModifierParameter(type="DISCRETIZE_ADD_NORMAL", std_dev=0.1, res=0.1))
    changes = {"modifier.std_dev": 0.2, "modifier.res": 0.05, "modifier.assumed_wmax": 2.0}
    first = step(config, state, key).modified
    for name, value in changes.items():
        changed = step(config.replace({name: value}), state, key).modified
        # the assumed maximum plays no part while the actual one is taken
        assert np.allclose(first, changed) is (name == "modifier.assumed_wmax")
    assert len(traces) == 1


def test_a_swept_resolution_of_zero_is_none(key: jax.Array) -> None:
    def copy(res: jax.Array) -> jax.Array:
        return draw(aj.WeightModifierParameter(type="DISCRETIZE", res=res), WEIGHTS, key)

    swept = jax.vmap(copy)(jnp.asarray([0.0, 0.25, 4.0]))
    assert np.allclose(swept[0], WEIGHTS)
    assert np.allclose(swept[1], swept[2])
    assert not np.allclose(swept[0], swept[1])


# -------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: aj.WeightModifierParameter(std_dev=-0.1), "at least 0"),
        (lambda: aj.WeightModifierParameter(pdrop=1.5), "at most 1"),
        (lambda: aj.WeightModifierParameter(type="ADD_NORMALS"), "did you mean 'ADD_NORMAL'"),
        (lambda: aj.WeightModifierParameter(per_batch_sample=True), "per_batch_sample=True is not allowed"),
        (
            lambda: aj.SingleRPUConfig(modifier=aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1)),
            "modifier.type=ADD_NORMAL is not allowed with the device ConstantStepDevice: give NONE",
        ),
    ],
)
def test_mistakes(build: object, words: str) -> None:
    with pytest.raises(aj.ConfigError, match=words):
        build()


def test_a_modifier_cannot_be_switched_on_later(key: jax.Array) -> None:
    config, state = made(key)
    later = config.replace({"modifier.type": "ADD_NORMAL", "modifier.std_dev": 0.1})
    with pytest.raises(aj.ConfigError, match="build the tile with it"):
        tile.end_of_batch(later, state, key)
