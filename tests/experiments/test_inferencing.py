"""Inference experiments: chips over time, as the reference reports them."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from aihwjax.experiments import BasicInferencing, InferenceLocalRunner, infer, load_examples, run_local_inference
from aihwjax.experiments.inferring import _equal_parts
from tests.experiments import small

# a drift that is large and the same for all devices, a product without noise: what comes can be told beforehand
STEADY = aj.StateIndependentNoiseModel(prog_noise_scale=0.0, read_noise_scale=0.0, drift_nu_mean=0.1, drift_nu_std=0.0)
NOISY = aj.StateIndependentNoiseModel()
PERFECT = aj.IOParameters(is_perfect=True)
TIMES = (0.0, 1.0, 1e6)


def config(noise_model: Any = NOISY) -> aj.TileConfig:
    """Return tiles whose weights drift, without a compensation."""
    return aj.InferenceRPUConfig(forward=PERFECT, noise_model=noise_model, drift_compensation=None)


def linear(noise_model: Any = NOISY) -> nnx.Module:
    """Return one layer, whose logits are what is judged."""
    return aj.nn.AnalogSequential(
        aj.nn.AnalogLinear(small.FEATURES, small.CLASSES, False, config=config(noise_model), rngs=nnx.Rngs(1))
    )


def experiment(**fields: Any) -> BasicInferencing:
    """Return a small experiment."""
    return BasicInferencing(**{"dataset": small.data(), "model": linear(), "times": TIMES, "batch_size": 8, **fields})


def test_the_times_are_those_of_the_reference() -> None:
    grid = experiment(times=None).time_grid()
    np.testing.assert_allclose(grid, [0, 1, 4.1406, 17.145, 70.989, 293.94, 1217.1, 5039.5, 20866, 86400], rtol=1e-4)
    assert grid[-1] == 86400
    assert experiment(times=None, inference_time=1).time_grid() == [0.0, 1.0]
    assert len(experiment(times=None, inference_time=50).time_grid(5)) == 5
    assert experiment().time_grid() == list(TIMES)


def test_the_defaults_are_those_of_the_reference() -> None:
    made = BasicInferencing(small.data(), linear())
    found = (made.batch_size, made.loss_function, made.weight_template_id, made.inference_repeats)
    assert found == (10, "CrossEntropyLoss", "", 2)
    assert (made.inference_time, made.remap_weights) == (86400, True)
    assert "inference_repeats=2" in str(made)


def test_loss_and_accuracy_are_those_of_the_drifted_weights() -> None:
    model = linear(STEADY)
    found = infer(experiment(model=model, inference_repeats=1), key=3, progress=False)
    _, _, x, y = small.data()
    logits = np.asarray(model(x, key=0), np.float64)
    for entry, t in zip(found["inference_runs"]["inference_results"], TIMES, strict=True):
        left = ((t + 20) / 20) ** -0.1
        scaled = logits * left
        loss = np.mean(np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(y)), y])
        assert entry["avg_loss"] == pytest.approx(loss, rel=2e-3)
        assert entry["avg_accuracy"] == pytest.approx(100 * np.mean(scaled.argmax(1) == y))
        assert entry["avg_error"] == pytest.approx(100 - entry["avg_accuracy"])
        assert entry["std_accuracy"] == 0


def test_the_result_is_over_the_chips_and_has_a_form_in_json() -> None:
    found = InferenceLocalRunner("cpu").run(experiment(inference_repeats=3), key=1, progress=False)
    runs = found["inference_runs"]
    assert (runs["inference_repeat"], runs["is_partial"]) == (3, False)
    assert runs["time_elapsed"] > 0
    assert len(found["chips"]) == 9
    for entry in runs["inference_results"]:
        chips = [row for row in found["chips"] if row["time"] == entry["t_inference"]]
        assert [row["chip"] for row in chips] == [0, 1, 2]
        accuracy = [row["accuracy"] for row in chips]
        assert entry["avg_accuracy"] == pytest.approx(np.mean(accuracy))
        assert entry["std_accuracy"] == pytest.approx(np.std(accuracy))
        assert entry["avg_loss"] == pytest.approx(np.mean([row["loss"] for row in chips]))
    assert json.loads(json.dumps(found)) == found
    late = [row["loss"] for row in found["chips"] if row["time"] == 1e6]
    assert len(set(late)) == 3, "each chip has noise of its own"


def test_reports_come_after_each_chip_and_end_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    three = experiment(inference_repeats=3)
    whole = infer(three, key=1, progress=False)
    found = run_local_inference(three, 1, stdout=True, reports=[told.append, lambda _: len(told) < 2])
    assert [(each["inference_runs"]["inference_repeat"], each["inference_runs"]["is_partial"]) for each in told] == [
        (1, True),
        (2, True),
    ]
    assert found["inference_runs"]["is_partial"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["inference_runs"] for line in lines] == [each["inference_runs"] for each in told]
    for one, same in zip(found["chips"], whole["chips"], strict=False):
        assert one["loss"] == pytest.approx(same["loss"], rel=1e-5)
    # and it goes on from there
    rest = infer(three, key=1, progress=False, known=found["chips"], reports=[told.append])
    assert len(told) == 3
    assert rest["chips"][:6] == found["chips"]
    assert rest["chips"][6]["loss"] == pytest.approx(whole["chips"][6]["loss"], rel=1e-5)
    with pytest.raises(aj.ConfigError, match="known has rows of other chips or times"):
        infer(three.replace(times=(0.0, 2.0, 3.0)), key=1, known=found["chips"], progress=False)


def test_parts_are_equal() -> None:
    assert [_equal_parts(*case) for case in [(25, 20), (25, 100), (7, 3), (1, 1), (0, 5)]] == [13, 25, 3, 1, 1]


def test_a_regression_has_no_accuracy_and_a_pair_of_arrays_is_evaluated_itself() -> None:
    x = np.linspace(-1, 1, 10 * small.FEATURES, dtype=np.float32).reshape(10, -1)
    model = linear(STEADY)
    y = np.asarray(model(x, key=0))
    found = infer(experiment(model=model, dataset=(x, y), loss_function="MSELoss", inference_repeats=1), progress=False)
    first, *_, last = found["inference_runs"]["inference_results"]
    assert set(first) == {"t_inference", "avg_loss"}
    assert first["avg_loss"] == pytest.approx(0, abs=1e-6)
    left = ((TIMES[-1] + 20) / 20) ** -0.1
    assert last["avg_loss"] == pytest.approx((1 - left) ** 2 * np.mean(y**2), rel=2e-3)


def test_a_loss_of_ones_own_sees_whole_batches() -> None:
    sizes = []

    def spread(outputs: jax.Array, targets: jax.Array) -> jax.Array:
        sizes.append(len(outputs))
        return outputs.std()

    found = infer(experiment(loss_function=spread, inference_repeats=1), progress=False)
    assert set(sizes) == {8, 21 % 8}
    assert found["chips"][0]["loss"] > 0


def test_images_are_scaled_as_for_inference() -> None:
    made = experiment(dataset="mnist10k", model=linear())
    data = load_examples(made, max_elements=3)
    assert data.valid_x.shape == (3, 1, 28, 28)
    fashion = BasicInferencing("fashion_mnist", linear()).dataset
    assert isinstance(fashion, aj.experiments.data.Dataset)
    assert fashion.for_inference().normalization is None


def test_another_number_is_not_compiled_again() -> None:
    from aihwjax.nn import many_chips

    infer(experiment(), progress=False)
    before = many_chips._evaluated._cache_size()
    infer(experiment(times=(0.0, 3.0, 5.0)), key=7, progress=False)
    infer(experiment(model=linear(NOISY.replace({"drift_nu_mean": 0.2}))), key=7, progress=False)
    assert many_chips._evaluated._cache_size() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inference_repeats": 0}, "inference_repeats=0 is not allowed: give a whole number of at least 1"),
        ({"inference_time": 0.5}, "inference_time=0.5 is not allowed: give seconds, 1 to 1e"),
        ({"inference_time": float("nan")}, "inference_time=nan is not allowed"),
        ({"batch_size": 2.5}, "batch_size=2.5 is not allowed"),
        ({"times": [2, 1]}, "times with 1 after 2 is not allowed: give them ascending"),
        ({"times": [-1]}, "times with -1 is not allowed"),
        ({"times": []}, r"times of shape \(0,\) is not allowed"),
        ({"remap_weights": 1}, "remap_weights=1 is not allowed: give True or False"),
        ({"weight_template_id": 3}, "weight_template_id=3 is not allowed: give a path, an address"),
        ({"loss_function": "NLLoss"}, "did you mean 'NLLLoss'"),
        ({"inference_repeat": 3}, "BasicInferencing has no argument 'inference_repeat'; did you mean"),
        ({"model": nnx.Linear(6, 3, rngs=nnx.Rngs(0))}, "model=Linear has no analog layer"),
        ({"model": small.model(small.ANALOG)}, "layers/0/tiles/0: .*noise_model"),
        ({"dataset": (np.ones((4, 5), np.float32), np.array([0, 1, 2, 0]))}, "layers/0"),
        ({"dataset": (np.ones((4, 6), np.float32), np.array([0, 1, 3, 0]))}, "label 3 is out of range"),
    ],
)
def test_bad_input_is_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(aj.AihwjaxError, match=message) as caught:
        infer(experiment(**fields), progress=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_elements": -1}, "max_elements=-1 is not allowed"),
        ({"n_inference_times": 1}, "n_inference_times=1 is not allowed: give a whole number of at least 2"),
        ({"reports": print}, "give a list of functions"),
        ({"key": 1.5}, "key=1.5"),
        ({"experiment": 3}, "experiment=3 is not allowed: give a BasicInferencing"),
    ],
)
def test_bad_arguments_are_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(aj.AihwjaxError, match=message):
        run_local_inference(**{"experiment": experiment(times=None), **arguments})
