"""Every public function, class and method names the nearest argument where Python would say "unexpected keyword"."""

from __future__ import annotations

import enum
import inspect
import pickle
import timeit
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flax import nnx

import aihwjax as aj
from aihwjax import arguments
from aihwjax.config import Config
from tests.experiments import small

BELOW = {"aihwjax.errors", "aihwjax.transposable", "aihwjax.arguments", "aihwjax.random"}
"""The module that answers, those below it, and noise, whose functions a trace calls by the thousand."""


def public() -> Iterator[tuple[str, Any]]:
    """Yield what the package and its folders export, functions and classes, with a name."""
    modules: list[Any] = [aj]
    for module in modules:
        names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
        for name in names:
            value = getattr(module, name)
            if inspect.ismodule(value) and value.__name__.startswith("aihwjax") and value not in modules:
                modules.append(value)
            elif str(getattr(value, "__module__", "")).startswith("aihwjax") and callable(value):
                yield f"{module.__name__}.{name}", value


def is_open(function: Any) -> bool:
    """Whether a function takes any name, or nothing at all, so that it answers itself."""
    parameters = inspect.signature(function).parameters.values()
    return not parameters or any(p.kind is p.VAR_KEYWORD for p in parameters)


def calls() -> dict[str, Callable[..., Any]]:
    """Return the functions, constructors and methods of the public names."""
    found: dict[str, Callable[..., Any]] = {}
    for name, value in public():
        if value.__module__ in BELOW or getattr(value, "_is_protocol", False):
            continue
        if not inspect.isclass(value):
            found[name] = value
        elif not issubclass(value, enum.Enum | BaseException | tuple | nnx.Variable | Config):
            own = {key: getattr(value, key) for key, kind in vars(value).items() if not isinstance(kind, property)}
            methods = {key: f for key, f in own.items() if not key.startswith("_") and inspect.isroutine(f)}
            found.update({f"{name}.{key}": f for key, f in methods.items()})
            if "__init__" in vars(value):
                found[name] = value
    return {name: call for name, call in found.items() if not is_open(call)}


CALLS = calls()


def test_the_public_calls_are_found() -> None:
    assert len(CALLS) > 350
    for name in ("analog_sgd", "fit", "run_cloud", "LocalRunner.run", "CloudRunner.run", "tile.update"):
        assert f"aihwjax.{name}" in CALLS


def test_every_public_call_answers_an_unknown_argument() -> None:
    silent = []
    for name, call in CALLS.items():
        try:
            call(not_there=1)
        except aj.ConfigError as error:
            if "has no argument 'not_there'" not in str(error) or "\n" in str(error):
                silent.append(f"{name}: {error}")
        except Exception as error:
            silent.append(f"{name}: {type(error).__name__}: {error}")
    assert not silent, "\n".join(silent)


MISTAKES = [
    (lambda: aj.analog_sgd(lr=0.1), "analog_sgd has no argument 'lr'; did you mean 'learning_rate'?"),
    (lambda: aj.run_local(None, progres=False), "run_local has no argument 'progres'; did you mean 'progress'?"),
    (lambda: aj.run_local(None, seed=3), "run_local has no argument 'seed'; did you mean 'key'?"),
    (lambda: aj.LocalRunner().run(None, callbacks=[]), "LocalRunner.run has no argument 'callbacks'; did you mean 're"),
    (lambda: aj.fit(None, checkpoint="a"), "fit has no argument 'checkpoint'; did you mean 'checkpoint_dir'?"),
    (lambda: aj.sweep(None, {}, seed=1), "sweep has no argument 'seed'; did you mean 'key'?"),
    (lambda: aj.convert_to_analog(None, rpu_config=1), "has no argument 'rpu_config'; did you mean 'config'?"),
    (lambda: aj.analog_optimizer(None, lr=0.1), "has no argument 'lr'; did you mean 'learning_rate'?"),
    (lambda: aj.run_cloud(None, nam="a"), "run_cloud has no argument 'nam'; did you mean 'name'?"),
    (lambda: aj.analog_sgd(), "analog_sgd needs the argument 'learning_rate'"),
    (lambda: aj.analog_sgd(0.1, None, 3), "analog_sgd has 3 arguments without a name: give at most 2"),
    (lambda: aj.analog_sgd(0.1, learning_rate=1), "analog_sgd has the argument 'learning_rate' twice"),
    (lambda: aj.analog_sgd(0.1, momentum=1), "no argument 'momentum'; it has learning_rate, digital"),
    (lambda: small.model()([1.0], kye=1), "AnalogSequential has no argument 'kye'; did you mean 'key'?"),
    (lambda: small.model().set_weights({}, keys=1), "AnalogSequential.set_weights has no argument 'keys'; did you"),
]


@pytest.mark.parametrize(("make", "message"), MISTAKES, ids=[row[1][:50] for row in MISTAKES])
def test_a_mistaken_argument_names_the_right_one(make: Callable[[], object], message: str) -> None:
    with pytest.raises(aj.ConfigError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_other_errors_pass_and_a_function_stays_what_it_is() -> None:
    with pytest.raises(TypeError, match="mine"):
        _failing(1)
    assert inspect.signature(aj.analog_sgd).parameters.keys() == {"learning_rate", "digital"}
    assert pickle.loads(pickle.dumps(aj.tile.forward)) is aj.tile.forward


@arguments.answered
def _failing(x: int) -> None:
    raise TypeError("mine")


def test_an_answering_function_costs_next_to_nothing() -> None:
    def plain(x: int, *, y: int = 0) -> int:
        return x + y

    mine = arguments.answered(plain)
    spent = min(timeit.repeat(lambda: mine(1, y=2), number=2000, repeat=9)) / 2000
    assert spent < 20e-6  # seconds; one call of a product takes more than ten times as long
