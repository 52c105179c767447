"""The best epoch by any metric is kept, and is the same after a kill as without one."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx

from aihwjax import cli
from aihwjax.errors import CheckpointError, ConfigError
from aihwjax.experiments import BasicTraining, LocalRunner, fit, load_best, loop, run_local
from aihwjax.experiments.arrays import digest, to_arrays
from aihwjax.experiments.best import Goal, goal
from aihwjax.experiments.storage import Storage
from tests.experiments import small

EPOCHS = 6


def bumpy(**fields: object) -> BasicTraining:
    """An experiment whose own metric rises and falls: its values are given by the epoch."""
    values = iter(fields.pop("values", [0.1, 0.7, 0.2, 0.9, 0.3, 0.8]))  # type: ignore[call-overload]
    return small.experiment(epochs=EPOCHS, metrics={"own score": lambda p, t: next(values)}, **fields)


def hashed(model: nnx.Module) -> str:
    return digest(to_arrays(nnx.state(model)))


def after(epochs: int) -> str:
    """Hash of the model that so many epochs of training give."""
    return hashed(fit(bumpy().replace(epochs=epochs))[0])


def test_the_best_epoch_by_a_metric_of_the_users_own(tmp_path) -> None:
    metrics = run_local(bumpy(), checkpoint_dir=tmp_path, keep_best="own score")
    model, entry = load_best(tmp_path)
    assert entry == metrics[3]
    assert entry["own score"] == 0.9
    assert hashed(model) == after(4)


def test_smaller_is_better_if_that_is_said(tmp_path) -> None:
    LocalRunner("cpu").run(bumpy(), checkpoint_dir=tmp_path, keep_best="own score", best="smallest")
    model, entry = load_best(tmp_path)
    assert entry["epoch"] == 0
    assert hashed(model) == after(1)


@pytest.mark.slow
def test_analog_models_and_those_of_others(tmp_path) -> None:
    experiment = small.experiment(small.ANALOG)
    metrics = run_local(experiment, checkpoint_dir=tmp_path / "analog", keep_best="valid_loss")
    model, entry = load_best(tmp_path / "analog")
    assert entry["valid_loss"] == min(each["valid_loss"] for each in metrics)
    x = np.ones((2, small.FEATURES), np.float32)
    assert model(x, key=jax.random.key(0)).shape == (2, small.CLASSES)

    class Own(nnx.Module):
        def __init__(self) -> None:
            self.linear = nnx.Linear(small.FEATURES, small.CLASSES, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return jax.nn.log_softmax(self.linear(x))

    own = BasicTraining(small.data(), Own(), epochs=1)
    trained, _ = fit(own, checkpoint_dir=tmp_path / "own", keep_best="accuracy")
    with pytest.raises(CheckpointError, match=r"layers that are not of aihwjax\.nn: give model="):
        load_best(tmp_path / "own")
    assert hashed(load_best(tmp_path / "own", own.model)[0]) == hashed(trained)
    assert hashed(own.model) != hashed(trained)


@pytest.mark.parametrize(("folder", "epoch"), [("best", 1), ("best", 3), ("run", 1), ("run", 3), ("run", 4)])
def test_a_killed_run_keeps_the_same_best_epoch(tmp_path, monkeypatch, folder, epoch) -> None:
    run = tmp_path / "run"
    values = [0.1, 0.7, 0.2, 0.9, 0.3, 0.8]
    write = Storage.write

    def killed(self, number, document, arrays):
        write(self, number, document, arrays)
        if number == epoch + 1 and self.folder.name == folder:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(bumpy(), checkpoint_dir=run, keep_best="own score")
    done = epoch + (folder == "run")
    assert Storage(run, 2, read_only=True).numbers()[0] == done
    fit(bumpy(values=values[done:]), checkpoint_dir=run, keep_best="own score")
    model, entry = load_best(run)
    assert entry["epoch"] == 3
    assert hashed(model) == after(4)


def test_a_run_that_goes_on_knows_what_was_best(tmp_path) -> None:
    experiment = small.experiment(epochs=2)
    run_local(experiment, checkpoint_dir=tmp_path, keep_best="valid_loss")
    longer = run_local(experiment.replace(epochs=4), checkpoint_dir=tmp_path, keep_best="valid_loss")
    assert load_best(tmp_path)[1] == min(longer, key=lambda entry: entry["valid_loss"])


def test_a_run_that_did_not_keep_its_best_epoch_says_so(tmp_path) -> None:
    fit(bumpy(), checkpoint_dir=tmp_path)
    with pytest.raises(CheckpointError, match="keep_best='own score' comes too late .* epoch 3, its best so far"):
        fit(bumpy(), checkpoint_dir=tmp_path, keep_best="own score")
    with pytest.raises(CheckpointError, match="has no best epoch: give the checkpoints of a run with keep_best"):
        load_best(tmp_path)
    with pytest.raises(CheckpointError, match="has no best epoch"):
        load_best(tmp_path / "elsewhere")


def test_another_experiment_is_refused(tmp_path) -> None:
    fit(small.experiment(epochs=1), checkpoint_dir=tmp_path, keep_best="accuracy")
    for number in ("1",):
        (tmp_path / number).rename(tmp_path / f"old {number}")
    with pytest.raises(CheckpointError, match="best/1' belongs to another experiment: batch_size: 8 there, 4 here"):
        fit(small.experiment(epochs=1, batch_size=4), checkpoint_dir=tmp_path, keep_best="accuracy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep_best": "validation_loss"}, "='validation_loss' is no metric of this run; did you mean 'valid_loss'"),
        ({"keep_best": "pulses"}, "no metric of this run: give one of accuracy, own, time_epoch, train_loss"),
        ({"keep_best": ["accuracy"]}, "is no metric of this run"),
        ({"keep_best": "own"}, "does not say which value is the best: give best='smallest' or best='largest'"),
        ({"keep_best": "own", "best": "high"}, "best='high' is not allowed: give 'smallest' or 'largest'"),
        ({"best": "largest"}, "best='largest' is not allowed alone: give keep_best"),
        ({"keep_best": "accuracy", "checkpoint_dir": None}, "is not allowed without a folder to keep it in"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_training(tmp_path, monkeypatch, arguments, message) -> None:
    def no_program(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr(loop, "epoch", no_program)
    experiment = small.experiment(metrics={"own": lambda p, t: 1.0})
    with pytest.raises(ConfigError, match=message):
        fit(experiment, **{"checkpoint_dir": tmp_path, **arguments})


@pytest.mark.parametrize(
    ("values", "extreme", "found"),
    [
        ([3.0, 1.0, 1.0, 2.0], "smallest", 1),
        ([3.0, 1.0, 3.0], "largest", 0),
        ([float("nan"), 2.0, float("nan")], "smallest", 1),
        ([float("nan")], "largest", None),
        ([float("inf"), float("inf")], "smallest", 0),
        ([], "smallest", None),
    ],
)
def test_which_epoch_is_the_best(values, extreme, found) -> None:
    assert Goal("m", extreme).find([{"m": value} for value in values]) == found


def test_names_say_what_is_better() -> None:
    names = {"valid_loss": "smallest", "RMSE": "smallest", "f1 of threes": "largest", "top-5 accuracy": "largest"}
    for name, extreme in names.items():
        assert goal(name, None, names).extreme == extreme
    assert goal("RMSE", "largest", names).extreme == "largest"


def test_the_command_keeps_it_too(tmp_path, capsys) -> None:
    lines = [
        '[experiment]\ndataset = "mnist10k"\nepochs = 2\nmax_elements_train = 60\n',
        '[tile]\nclass = "FloatingPointRPUConfig"\n',
        '[model]\nlayers = [{ class = "Flatten" }, { class = "AnalogLinear", in_features = 784, out_features = 10 },',
        '{ class = "LogSoftmax" }]\n',
    ]
    file = tmp_path / "run.toml"
    file.write_text("".join(lines))
    assert cli.main(["train", str(file), "--keep-best", "valid_loss"]) == 2
    assert "aihwjax: keep_best='valid_loss' needs a folder to keep it in: give --output" in capsys.readouterr().err
    words = ["train", str(file), "--output", str(tmp_path / "out"), "--keep-best", "valid_loss", "--best", "largest"]
    assert cli.main(words) == 0
    assert load_best(tmp_path / "out" / "checkpoints")[1]["epoch"] == 0
    written = (tmp_path / "out" / "config.toml").read_text()
    assert 'keep_best = "valid_loss"\nbest = "largest"\n' in written
    # the file alone says it too, and an option goes before it
    assert cli.main(["train", str(tmp_path / "out" / "config.toml"), "--output", str(tmp_path / "again")]) == 0
    assert load_best(tmp_path / "again" / "checkpoints")[1]["epoch"] == 0
    words = ["train", str(tmp_path / "out" / "config.toml"), "--output", str(tmp_path / "third"), "--best", "smallest"]
    assert cli.main(words) == 0
    assert load_best(tmp_path / "third" / "checkpoints")[1]["epoch"] == 1
    capsys.readouterr()
    words = ["train", str(file), "--output", str(tmp_path / "fourth"), "--set", "keep_best=valid_los"]
    assert cli.main(words) == 2
    assert "keep_best='valid_los' is no metric of this run; did you mean 'valid_loss'?" in capsys.readouterr().err
