"""Parameters of each crosspoint under the reference's names, to be read and to be set (spec: devices, section 5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool

from aihwjax.devices.counts import PulseCounts
from aihwjax.devices.device import DeviceState
from aihwjax.typing import Hidden, Marks

_FIELDS = ("max_bound", "min_bound", "dwmin_up", "dwmin_down", "decay_scales", "diffusion_rates", "reset_bias")
_OFF = {"decay_scales": 1.0, "diffusion_rates": 0.0, "reset_bias": 0.0, "drift_nu": 0.0}
"""What a feature that the device doesn't have is shown as."""
_SWITCHES = {"decay_scales": "lifetime", "diffusion_rates": "diffusion", "drift_nu": "drift.nu"}
"""Field of the device that decides whether it has the feature."""


def parameters(state: DeviceState) -> dict[str, Hidden]:
    """Return all parameters of a pulsed device."""
    assert state.max_bound is not None
    shape = state.max_bound.shape
    found = {name: getattr(state, name) for name in _FIELDS}
    found["drift_nu"] = None if state.drift is None else state.drift.exponents
    hidden = {
        name: jnp.full(shape, _OFF[name], jnp.float32) if value is None else value for name, value in found.items()
    }
    if state.persistent is not None:
        hidden["persistent_weights"] = state.persistent
    if state.pulses is not None:
        hidden |= {"up_pulses": state.pulses.up, "down_pulses": state.pulses.down}
    return {**hidden, **state.model}


def fixed_parameters(state: DeviceState) -> dict[str, str]:
    """Return those that cannot be set, as the device was drawn without their feature, and what to do about it."""
    missing = [name for name in ("decay_scales", "diffusion_rates") if getattr(state, name) is None]
    missing += ["drift_nu"] if state.drift is None else []
    return {name: f"the device was drawn without {_SWITCHES[name]}, so draw it anew with it" for name in missing}


def with_parameters(state: DeviceState, values: Mapping[str, Hidden]) -> DeviceState:
    """Return the state with some of the parameters replaced, and nothing else.

    Args:
        state: State of a pulsed device.
        values: New parameters by name, none of :func:`fixed_parameters`.
    """
    fields: dict[str, Any] = {name: values[name] for name in _FIELDS if name in values}
    state = dataclasses.replace(state, **fields)
    if "drift_nu" in values and state.drift is not None:
        state = dataclasses.replace(state, drift=dataclasses.replace(state.drift, exponents=values["drift_nu"]))
    if "persistent_weights" in values:
        state = dataclasses.replace(state, persistent=values["persistent_weights"])
    if state.pulses is not None:
        up, down = values.get("up_pulses", state.pulses.up), values.get("down_pulses", state.pulses.down)
        state = dataclasses.replace(state, pulses=PulseCounts(up, down))
    model = {name: values.get(name, value) for name, value in state.model.items()}
    return dataclasses.replace(state, model=model)


def steps_differ(old: DeviceState, new: DeviceState) -> Bool[Array, ""]:
    """Whether a step of any crosspoint can have another size or end at another bound."""
    pairs = [(getattr(old, name), getattr(new, name)) for name in _FIELDS[:4]]
    pairs += [(value, new.model[name]) for name, value in old.model.items()]
    return jnp.any(jnp.stack([jnp.any(before != after) for before, after in pairs]))


def bounds_differ(old: DeviceState, new: DeviceState) -> Marks:
    """Return which crosspoints have another bound."""
    assert old.max_bound is not None and old.min_bound is not None
    assert new.max_bound is not None and new.min_bound is not None
    return jnp.not_equal(old.max_bound, new.max_bound) | jnp.not_equal(old.min_bound, new.min_bound)
