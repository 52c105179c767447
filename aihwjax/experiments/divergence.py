"""Stopping a run whose numbers are no longer finite, before they replace good ones on disk."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax.errors import DivergedError
from aihwjax.experiments.metrics import EpochMetrics


class FiniteCheck:
    """Looks once an epoch at losses and state of a run.

    A number of the state that is infinite or NaN from the start, such as the best loss that an optimizer has
    seen, is none of its business.
    """

    def __init__(self, start: Any) -> None:
        """Prepare.

        Args:
            start: State before the first step; nothing of it is kept.
        """
        self._names = [_name(path) for path, leaf in jax.tree_util.tree_leaves_with_path(start) if _is_float(leaf)]
        self._finite = np.asarray(finite_leaves(start))

    def after(
        self, epoch: int, train_loss: np.ndarray, valid_loss: float, state: Any, metrics: list[EpochMetrics]
    ) -> None:
        """Return if everything is finite.

        Args:
            epoch: The epoch, from 0.
            train_loss: Loss of each of its steps.
            valid_loss: Loss after it.
            state: State after it.
            metrics: Metrics of the epochs before.

        Raises:
            DivergedError: If not; says what, in which epoch, and of a loss at which step.
        """
        wrong = ~np.isfinite(train_loss)
        if wrong.any():
            index, count = int(np.argmax(wrong)), len(train_loss)
            step = epoch * count + index
            what = (
                f"the loss or the gradient of a tile is not finite from step {step} on, {index} of {count} in its epoch"
            )
        else:
            lost = np.flatnonzero(self._finite & ~np.asarray(finite_leaves(state)))
            if len(lost):
                more = f" and {len(lost) - 1} more arrays" if len(lost) > 1 else ""
                what = f"{self._names[lost[0]]}{more} have NaN or infinity"
            elif not np.isfinite(valid_loss):
                what = f"the validation loss is {valid_loss}"
            else:
                return
        advice = "try a smaller learning_rate, or look for the source with jax_debug_nans"
        raise DivergedError(f"the training diverged in epoch {epoch}: {what}; {advice}", metrics)


@jax.jit
def finite_leaves(tree: Any) -> jax.Array:
    """Return for each array of floating-point numbers in a pytree whether all of them are finite.

    Args:
        tree: A pytree of arrays.
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree) if _is_float(leaf)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]) if leaves else jnp.ones((0,), bool)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.asarray(leaf).dtype if not hasattr(leaf, "dtype") else leaf.dtype, jnp.floating)


def _name(path: tuple[Any, ...]) -> str:
    """Return the path of a number in the state of model and optimizer, such as ``layers/1/tiles/0/state/weights``."""
    parts = [str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry)))) for entry in path]
    where = "" if parts[0] == "0" else "optimizer/"
    return where + "/".join(part for part in parts[1:] if part != "value")
