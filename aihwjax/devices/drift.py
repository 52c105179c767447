"""Parameters of conductance drift (spec: devices, section 4.6)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from aihwjax.config import SMALLEST, Config, configclass, known, not_positive, number, zero
from aihwjax.errors import ConfigError
from aihwjax.typing import Number


@configclass
class DriftParameter(Config):
    """Power-law drift of the conductance in time; off while ``nu`` is 0 or below."""

    nu: Number = number(0.0, off=not_positive)
    """Mean drift exponent."""
    t_0: Number = number(1.0, above=0)
    """Unit of time."""
    reset_tol: Number = number(1e-7, minimum=0)
    """A weight that differs by more from its last drifted value counts as rewritten."""
    nu_dtod: Number = number(0.0)
    """Relative spread of the drift exponent over crosspoints."""
    nu_std: Number = number(0.0, minimum=0, off=zero)
    """Relative variation of the drift exponent from call to call."""
    wg_ratio: Number = number(1.0)
    """Weight units per conductance unit."""
    g_offset: Number = number(0.0, off=zero)
    """Conductance offset."""
    w_offset: Number = number(0.0, off=zero)
    """Weight offset."""
    nu_k: Number = number(0.0, off=zero)
    """Dependence of the drift exponent on the logarithm of the conductance."""
    log_g0: Number = number(0.0)
    """Logarithm of the conductance at which the drift exponent is ``nu``."""
    w_noise_std: Number = number(0.0, minimum=0, off=zero)
    """Read noise added at each drift call, in weight units; it does not accumulate."""

    at_once: ClassVar[tuple[str, ...]] = (
        "t_0", "reset_tol", "nu_std", "wg_ratio", "g_offset", "w_offset", "nu_k", "log_g0", "w_noise_std"
    )  # fmt: skip

    def validate(self) -> None:
        """Refuse a conductance that would be a division by zero."""
        if self.present("nu_k") and (np.abs(known(self.wg_ratio)) < SMALLEST).any():
            raise ConfigError(
                f"DriftParameter.wg_ratio={self.wg_ratio!r} is not allowed with nu_k, "
                f"which divides by it: give at least {SMALLEST:g} in magnitude"
            )


SimpleDriftParameter = DriftParameter
"""The reference's shorter form (``nu``, ``t_0``, ``reset_tol``) is the same class."""
