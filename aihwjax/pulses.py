"""Parameters of the pulsed update (spec: update, section 2)."""

from __future__ import annotations

import enum

from aihwjax.config import Config, configclass, not_positive, number
from aihwjax.typing import Number


class PulseType(enum.Enum):
    """How an update is turned into pulses."""

    NONE = "None"
    STOCHASTIC_COMPRESSED = "StochasticCompressed"
    STOCHASTIC = "Stochastic"
    NONE_WITH_DEVICE = "NoneWithDevice"
    MEAN_COUNT = "MeanCount"
    DETERMINISTIC_IMPLICIT = "DeterministicImplicit"


class UpdateMode(enum.Enum):
    """Order in which the pulses of a mini-batch are applied.

    ``SEQUENTIAL`` goes vector by vector and pulse by pulse; ``AGGREGATED`` counts the
    coincidences of as many pulses as the device allows and applies them together; ``DIFFERENTIABLE``
    does the same with the same result, which has derivatives straight through the pulses.
    """

    AGGREGATED = "Aggregated"
    SEQUENTIAL = "Sequential"
    DIFFERENTIABLE = "Differentiable"

    @property
    def aggregated(self) -> bool:
        """Whether pulses may be applied together."""
        return self is not UpdateMode.SEQUENTIAL


@configclass
class UpdateParameters(Config):
    """Pulse trains of the update."""

    desired_bl: Number = number(31, minimum=1, integer=True)
    """Length of the pulse train; the largest length with ``update_bl_management``."""
    fixed_bl: bool = True
    """Whether the length stays at ``desired_bl`` when the learning rate asks for more."""
    pulse_type: PulseType = PulseType.STOCHASTIC_COMPRESSED
    """How pulses are generated."""
    res: Number = number(0.0, off=not_positive)
    """Bin width of the firing probabilities in 0…1 (a number of bins above 1)."""
    x_res_implicit: Number = number(0.0, off=not_positive)
    """Bin width of the column probabilities of ``DETERMINISTIC_IMPLICIT``."""
    d_res_implicit: Number = number(0.0, off=not_positive)
    """Bin width of the row probabilities of ``DETERMINISTIC_IMPLICIT``."""
    sto_round: bool = False
    """Stochastic rounding of the probabilities."""
    update_management: bool = True
    """Balance the firing probabilities of rows and columns."""
    update_bl_management: bool = True
    """Adapt the train length to each vector; switches update management on."""
    um_grad_scale: Number = number(1.0, above=0)
    """Below 1, rows saturate earlier."""
    d_sparsity: bool = False
    """Bookkeeping of the reference; has no effect on weights, there or here."""
