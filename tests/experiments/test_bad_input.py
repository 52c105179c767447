"""What does not fit is one line and is found before anything is compiled."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx

from aihwjax import nn
from aihwjax.errors import AihwjaxError, ConfigError, DataError, ShapeError
from aihwjax.experiments import LocalRunner, fit, loop, run_local
from aihwjax.experiments.data import Splits
from aihwjax.experiments.devices import find_device
from tests.experiments import small

X, Y, VALID_X, VALID_Y = small.data()


def with_data(**changes):
    fields = {"train_x": X, "train_y": Y, "valid_x": VALID_X, "valid_y": VALID_Y, **changes}
    return run_local(small.experiment(dataset=tuple(fields.values())))


def wide():
    return nn.AnalogSequential(nn.AnalogLinear(9, 3, config=small.EXACT, rngs=nnx.Rngs(0)), nn.LogSoftmax())


def nested():
    return nn.AnalogSequential(
        nn.AnalogSequential(*small.model()), nn.AnalogLinear(4, 3, config=small.EXACT, rngs=nnx.Rngs(0))
    )


def broken_loss(prediction, target):
    return prediction @ target


CASES = [
    ("empty data", lambda: with_data(train_x=X[:0], train_y=Y[:0]), DataError, ["empty"]),
    ("NaN in the data", lambda: with_data(train_x=X * np.nan), DataError, ["nan"]),
    ("lengths", lambda: with_data(train_y=Y[:5]), DataError, ["5 labels", "40"]),
    ("label too large", lambda: with_data(train_y=Y + 1), DataError,
     ["label 3", "3 outputs allow 0 to 2"]),
    ("negative label", lambda: with_data(train_y=Y - 1), DataError, ["-1"]),
    ("negative label in splits", lambda: fit(small.experiment(), Splits(X, Y - 1, VALID_X, VALID_Y)), DataError,
     ["label -1"]),
    ("empty splits", lambda: fit(small.experiment(), Splits(X[:0], Y[:0], VALID_X, VALID_Y)), DataError, ["empty"]),
    ("no data", lambda: fit(small.experiment(), 3), DataError, ["data=int"]),
    ("shape at the first layer", lambda: run_local(small.experiment(model=wide())), ShapeError,
     ["layers/0", "(21, 6)", "(..., 9)"]),
    ("shape at a nested layer", lambda: run_local(small.experiment(model=nested())), ShapeError,
     ["layers/1", "(21, 3)", "(..., 4)"]),
    ("loss and labels", lambda: run_local(small.experiment(loss_function="MSELoss")), ShapeError, ["mse_loss"]),
    ("a users loss", lambda: run_local(small.experiment(loss_function=broken_loss)), DataError,
     ["the loss does not fit"]),
    ("negative limit", lambda: run_local(small.experiment(), max_elements_train=-1), ConfigError,
     ["max_elements_train=-1"]),
    ("fractional limit", lambda: run_local(small.experiment(), max_elements_train=2.5), ConfigError,
     ["max_elements_train=2.5"]),
    ("key", lambda: run_local(small.experiment(), key="a"), ConfigError, ["key='a'"]),
    ("several keys", lambda: run_local(small.experiment(), key=jax.random.split(jax.random.key(0))), ConfigError,
     ["key="]),
    ("device", lambda: LocalRunner("gpux"), ConfigError, ["device='gpux'", "cpu:0", "did you mean 'gpu'?"]),
    ("device number", lambda: LocalRunner("cpu:99"), ConfigError, ["device='cpu:99'", "cpu:0"]),
    ("device type", lambda: LocalRunner(3), ConfigError, ["device=3"]),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "parts"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_is_one_line_before_compilation(monkeypatch, call, kind, parts):
    def epoch(*_args, **_kwargs):
        raise AssertionError("compiled before the mistake was found")

    monkeypatch.setattr(loop, "epoch", epoch)
    with pytest.raises(AihwjaxError) as caught:
        call()
    assert caught.type is kind
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_a_limit_is_clamped_to_each_split():
    metrics = run_local(small.experiment(epochs=1), max_elements_train=30)
    assert 21 * metrics[0]["accuracy"] == pytest.approx(round(21 * metrics[0]["accuracy"]))
    metrics = run_local(small.experiment(epochs=1), max_elements_train=10)
    assert 10 * metrics[0]["accuracy"] == pytest.approx(round(10 * metrics[0]["accuracy"]))


def test_the_runner_runs_on_its_device(capsys):
    runner = LocalRunner(device="cpu")
    assert runner.device == find_device("cpu:0") == jax.devices("cpu")[0]
    metrics = runner.run(small.experiment(epochs=2), stdout=True, key=1)
    wanted = run_local(small.experiment(epochs=2), key=1)
    assert [entry["valid_loss"] for entry in metrics] == [entry["valid_loss"] for entry in wanted]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 6
    assert printed[0] == f"Epoch 0: training loss {metrics[0]['train_loss']:.8f}"
    assert f"21 images: accuracy {100 * metrics[0]['accuracy']:.6f} %" in printed[1]
    assert printed[2].endswith("s")


def test_the_runner_is_silent_by_default(capsys):
    LocalRunner().run(small.experiment(epochs=1))
    assert capsys.readouterr().out == ""
