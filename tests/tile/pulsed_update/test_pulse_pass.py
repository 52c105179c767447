"""The arithmetic of a pass over the crosspoints."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from aihwjax.tile.pulsed_update import pulse_pass


def test_growth_is_that_of_an_exponential_and_never_negative() -> None:
    b = np.linspace(-6, 3, 91)
    b = b[b != 0]
    growth = np.asarray(pulse_pass._growth(jnp.asarray(b, jnp.float32)))
    exact = np.expm1(b) / b
    near = np.abs(b) <= 2
    np.testing.assert_allclose(growth[near], exact[near], rtol=1e-4)
    np.testing.assert_allclose(growth, exact, rtol=1e-2)
    far = np.asarray(pulse_pass._growth(jnp.asarray([-1e3, -1e30, 0.0])))
    assert (far > 0).all()
    assert far[2] == 1


def test_inverse_of_pulse_numbers() -> None:
    number = np.arange(1, 5000, dtype=np.float32)
    np.testing.assert_allclose(np.asarray(pulse_pass._inverse(jnp.asarray(number))) * number, 1, rtol=3e-7)
