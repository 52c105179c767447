"""What the targets are, and so when a prediction is right; where there are no classes there is no accuracy."""

from __future__ import annotations

import enum

import jax
import numpy as np

from aihwjax.experiments.data import Splits
from aihwjax.experiments.losses import LossFunction, OwnLoss, resolved


class Task(enum.Enum):
    """When a prediction is right."""

    LABELS = "labels"
    """The largest output is that of the label."""
    ONE_HOT = "one-hot"
    """The largest output is where the largest target is."""
    MARKS = "marks"
    """Every output is on the side of 0.5 on which its target, 0 or 1, is."""


def task_of(loss: LossFunction, output: jax.ShapeDtypeStruct, splits: Splits) -> Task | None:
    """Return when a prediction is right, ``None`` if the targets or the loss don't say so.

    ========================================================== =======================================
    targets                                                    right is
    ========================================================== =======================================
    whole numbers ``(n,)``, outputs ``(n, classes)``           the largest output is the label's
    0 and 1 with a single 1 in every row, ``(n, classes)``     the largest output is the target's
    anything ``(n, classes)`` with the cross entropy           the largest output is the largest target's
    0 and 1 otherwise, ``(n, k)``, with a loss of the library  all ``k`` outputs are on the right side of 0.5
    ========================================================== =======================================

    Everything else is a regression. Of 0 and 1 with a user's loss it is not known where the border
    is: at 0.5 for probabilities, at 0 for logits.

    Args:
        loss: The loss.
        output: Shape and type of outputs ``(n, ...)``.
        splits: The data; the targets of both splits say what they are.
    """
    function = resolved(loss)
    own = isinstance(function, OwnLoss)
    targets = (splits.train_y, splits.valid_y)
    shape = targets[0].shape[1:]
    if len(output.shape) != 2:
        return None
    if shape == () and np.issubdtype(targets[0].dtype, np.integer):
        return None if own and output.shape[1] == 1 else Task.LABELS
    if shape != output.shape[1:]:
        return None
    several = shape[0] > 1
    if function is resolved("CrossEntropyLoss"):
        return Task.ONE_HOT if several else None
    if not all(np.isin(y, (0, 1)).all() for y in targets):
        return None
    if several and all((y.sum(axis=1) == 1).all() for y in targets):
        return Task.ONE_HOT
    both = any(y.any() for y in targets) and not all(y.all() for y in targets)
    return Task.MARKS if both and not own else None
