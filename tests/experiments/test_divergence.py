"""A run whose loss, gradients or weights are not finite stops, says so, and leaves the good checkpoints."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from aihwjax import cli, nn
from aihwjax.errors import ConfigError, DivergedError
from aihwjax.experiments import BasicTraining, LocalRunner, fit, loop, run_local
from aihwjax.experiments.divergence import FiniteCheck
from aihwjax.experiments.storage import Storage
from tests.experiments import small

X = small.data()[0]
Y = np.random.default_rng(0).normal(size=(len(X), 1))


def regression(config=small.EXACT, rate=50.0, **fields):
    network = nn.AnalogSequential(nn.AnalogLinear(small.FEATURES, 1, config=config, rngs=nnx.Rngs(0)))
    defaults = {"loss_function": "MSELoss", "learning_rate": rate, "batch_size": 8, "epochs": 20}
    return BasicTraining((X, Y, X, Y), network, **{**defaults, **fields})


def no_gradient(prediction, target):
    """Return 0, with a gradient that is NaN: pulses would just stop."""
    return jnp.sqrt(((prediction - prediction) ** 2).sum() + 0 * target.sum())


RUNS = {
    "run_local": run_local,
    "fit": fit,
    "LocalRunner": lambda experiment, **options: LocalRunner().run(experiment, **options),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_regression_that_diverges_stops_with_the_step(name):
    message = r"diverged in epoch 1: .* not finite from step \d+ on, \d of 5 in its epoch"
    with pytest.raises(DivergedError, match=message) as caught:
        RUNS[name](regression())
    assert [entry["epoch"] for entry in caught.value.metrics] == [0]
    assert all(np.isfinite(value) for entry in caught.value.metrics for value in entry.values())
    assert "\n" not in str(caught.value)


def test_a_gradient_of_pulsed_tiles_that_is_not_finite_stops_the_run():
    model = small.model(small.ANALOG, bias=False)
    with pytest.raises(DivergedError, match="in epoch 0: the loss or the gradient of a tile is not finite from step 0"):
        run_local(small.experiment(model=model, loss_function=no_gradient))


def test_a_good_checkpoint_is_never_replaced(tmp_path):
    lines = []
    good = regression(epochs=1)
    _, metrics = fit(good, checkpoint_dir=tmp_path)
    for _ in range(2):  # started again it goes on from the good epoch, and stops there again
        with pytest.raises(DivergedError, match="the training diverged in epoch 1"):
            fit(regression(), checkpoint_dir=tmp_path, reports=[lambda m: lines.append(len(m))])
        assert Storage(tmp_path, 2).numbers() == [1]
    assert lines == [1, 1]
    assert all(np.isfinite(array).all() for array in Storage(tmp_path, 2).arrays(1).values())
    assert fit(good, checkpoint_dir=tmp_path)[1] == metrics


def test_weights_and_optimizer_states_are_looked_at_as_well():
    state = {"layers": [{"w": jnp.ones(3)}], "count": jnp.zeros((), jnp.int32)}, (jnp.zeros(2), jnp.asarray(jnp.inf))
    check = FiniteCheck(state)
    loss = np.ones(2, np.float32)
    check.after(0, loss, 1.0, state, [])
    for wrong, message in (
        (({**state[0], "layers": [{"w": jnp.asarray([1, jnp.nan, 1])}]}, state[1]), "layers/0/w have NaN"),
        ((state[0], (jnp.full(2, jnp.inf), state[1][1])), "optimizer/0 have NaN or infinity"),
    ):
        with pytest.raises(DivergedError, match=f"the training diverged in epoch 3: {message}"):
            check.after(3, loss, 1.0, wrong, [])
    with pytest.raises(DivergedError, match="the validation loss is inf"):
        check.after(0, loss, float("inf"), state, [])
    with pytest.raises(DivergedError, match="not finite from step 7 on, 1 of 2 in its epoch"):
        check.after(3, np.asarray([1, np.nan]), 1.0, state, [])


def test_the_weights_of_a_tile_are_named():
    state = nnx.state(small.model())
    bad = jax.tree.map(lambda leaf: leaf, state)
    check = FiniteCheck((state, ()))
    flat = [(path, variable) for path, variable in nnx.to_flat_state(bad) if path[-1] == "bias"]
    flat[0][1].set_value(jnp.full(5, jnp.nan))
    with pytest.raises(DivergedError, match="layers/0/bias have NaN"):
        check.after(0, np.ones(1, np.float32), 1.0, (bad, ()), [])


def test_a_schedule_is_refused_before_the_first_step(monkeypatch):
    monkeypatch.setattr(loop, "epoch", lambda *_: pytest.fail("trained with a rate that is not allowed later"))
    linear = lambda step: 0.2 - 0.02 * step  # noqa: E731
    with pytest.raises(ConfigError, match=r"learning_rate=-0.02 of the schedule at step 11 .* each of the 15 steps"):
        run_local(small.experiment(learning_rate=linear))


def test_an_allowed_schedule_trains_as_before():
    rates = (0.2, optax.constant_schedule(0.2))
    numbers = [run_local(small.experiment(learning_rate=rate))[-1]["train_loss"] for rate in rates]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-6)


def test_the_command_line_says_it_in_one_line_and_keeps_the_good_epochs(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text(
        '[experiment]\ndataset = "mnist10k"\nepochs = 3\nlearning_rate = 1e18\nbatch_size = 8\n'
        "max_elements_train = 40\n"
        '[tile]\nclass = "FloatingPointRPUConfig"\n[model]\n'
        'layers = [{class = "Flatten"}, {class = "AnalogLinear", in_features = 784, out_features = 8},'
        ' {class = "AnalogLinear", in_features = 8, out_features = 10}, {class = "LogSoftmax"}]\n'
    )
    assert cli.main(["train", str(path), "--output", str(tmp_path / "out"), "--quiet"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("aihwjax: the training diverged in epoch 0: ")
    assert line.count("\n") == 1
    metrics = tmp_path / "out" / "metrics.jsonl"
    assert not metrics.exists()
