"""Which loss an experiment means: a name, one of the library's losses, or the user's own callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from aihwjax.errors import ConfigError, nearest

LossFunction: TypeAlias = str | type | Callable[..., jax.Array]
"""A name such as ``"NLLLoss"``, a loss class, or a callable ``loss(predictions, targets)`` on whole batches."""

PerExample: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
"""``loss(prediction (n, ...), target (n, ...)) -> (n,)``: the loss of each example by itself."""


class OwnLoss:
    """A user's loss; equal for equal ones, so that programs are reused, and itself only if it can't be hashed."""

    def __init__(self, given: Any) -> None:
        """Keep the loss.

        Args:
            given: A callable, or a class whose instances are called.
        """
        self.given = given

    @property
    def made(self) -> Any:
        """The loss to be called: of a class, an instance."""
        return self.given() if inspect.isclass(self.given) else self.given

    def __call__(self, prediction: jax.Array, target: jax.Array) -> jax.Array:
        """Return what the loss says of a batch."""
        raise AssertionError

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return False
        mine, theirs = self.given, other.given  # type: ignore[attr-defined]
        return mine is theirs or (_hashable(mine) and _hashable(theirs) and bool(mine == theirs))

    def __hash__(self) -> int:
        return hash(self.given) if _hashable(self.given) else id(self.given)


class WholeBatch(OwnLoss):
    """A loss that is called on a whole batch exactly as it was written: it may look at all rows at once."""

    def __call__(self, prediction: jax.Array, target: jax.Array) -> jax.Array:
        """Return the loss of a batch, one number."""
        return jnp.asarray(self.made(prediction, target))


class EachExample(OwnLoss):
    """A loss that says that it looks at each example alone."""

    def __call__(self, prediction: jax.Array, target: jax.Array) -> jax.Array:
        """Return the loss of each example, ``(n,)``."""
        return jnp.asarray(self.made.per_example(prediction, target))


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


def resolved(loss: LossFunction) -> PerExample | OwnLoss:
    """Return the loss as a program calls it.

    The library's losses, and those that say that they look at each example alone, come as functions
    of each example: a mean over a batch is then a sum, in which empty rows can be left out. Any other
    callable is a :class:`WholeBatch`.

    Args:
        loss: Any of :data:`LossFunction`.
    """
    from aihwjax.nn import losses

    if isinstance(loss, str):
        return known_losses()[loss]
    if any(loss is function for function in known_losses().values()):
        return loss
    kind = loss if inspect.isclass(loss) else type(loss)
    if kind in (losses.NLLLoss, losses.CrossEntropyLoss, losses.MSELoss, losses.BCELoss):
        return kind.per_example  # type: ignore[no-any-return, union-attr]
    if hasattr(loss, "per_example") and not _called_otherwise(loss):
        return EachExample(loss)
    return WholeBatch(loss)


def _called_otherwise(loss: Any) -> bool:
    """Whether a class below the one that defines ``per_example`` defines its own call, which then counts."""
    if "per_example" in getattr(loss, "__dict__", {}) and not inspect.isclass(loss):
        return False
    for kind in inspect.getmro(loss if inspect.isclass(loss) else type(loss)):
        if "per_example" in vars(kind):
            return False
        if "__call__" in vars(kind):
            return True
    return False


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
