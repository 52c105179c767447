"""Which loss an experiment means: a name, one of the library's losses, or the user's own callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from aihwjax.errors import ConfigError, nearest

LossFunction: TypeAlias = str | type | Callable[..., jax.Array]
"""A name such as ``"NLLLoss"``, a loss class, or a callable ``loss(prediction, target) -> mean``."""

PerExample: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
"""``loss(prediction (n, ...), target (n, ...)) -> (n,)``: the loss of each example by itself."""


def known_losses() -> dict[str, PerExample]:
    """Return the library's losses by every name they answer to."""
    from aihwjax.nn import losses

    return {
        "NLLLoss": losses.nll_loss,
        "CrossEntropyLoss": losses.cross_entropy_loss,
        "MSELoss": losses.mse_loss,
        "BCELoss": losses.bce_loss,
        "nll_loss": losses.nll_loss,
        "cross_entropy_loss": losses.cross_entropy_loss,
        "mse_loss": losses.mse_loss,
        "bce_loss": losses.bce_loss,
    }


def loss_name(loss: LossFunction) -> str:
    """Return the name of a loss, for people and for checkpoints."""
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)


def check_loss(loss: LossFunction) -> None:
    """Refuse what cannot be a loss.

    Raises:
        ConfigError: If a name is unknown (with the nearest one), or the value is not callable.
    """
    if isinstance(loss, str):
        known = known_losses()
        if loss not in known:
            names = ", ".join(name for name in known if name.endswith("Loss"))
            raise ConfigError(f"loss_function={loss!r} is not known: give one of {names}{nearest(loss, known)}")
    elif not callable(loss):
        raise ConfigError(f"loss_function={loss!r} is not allowed: give a name, a loss class or a callable")


def per_example(loss: LossFunction) -> PerExample:
    """Return the loss as a function that gives one number for each example.

    A mean over a batch is then a weighted sum, so that a partial batch counts exactly. A user's
    callable is applied to batches of one example, under ``vmap``.

    Args:
        loss: Any of :data:`LossFunction`; the library's loss classes bring their function of each example.
    """
    if isinstance(loss, str):
        return known_losses()[loss]
    own: PerExample | None = getattr(loss, "per_example", None)
    if own is not None:
        return own
    mean: Callable[..., jax.Array] = loss() if inspect.isclass(loss) else loss  # type: ignore[assignment]
    return _Mapped(mean)


class _Mapped:
    """A mean loss, applied to each example; equal for equal losses, so that programs are reused."""

    def __init__(self, mean: Callable[..., jax.Array]) -> None:
        self.mean = mean

    def __call__(self, prediction: jax.Array, target: jax.Array) -> jax.Array:
        single = jax.vmap(lambda p, t: jnp.asarray(self.mean(p[None], t[None])).reshape(()))
        return single(prediction, target)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Mapped) and self.mean == other.mean

    def __hash__(self) -> int:
        return hash(self.mean)
