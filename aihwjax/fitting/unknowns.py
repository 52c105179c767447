"""What a fit searches for: numbers of each measured device, and numbers that all share.

Of each device these are the size of its up and down step, its bounds, and the draws of its model (such as the exponent
of a power step); of all, the fields that shape the steps, and the noise of a pulse. They are scaled so that a change of
1 is a large one, and kept in one pytree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from aihwjax.config import known
from aihwjax.devices.base import DeviceState, PulsedDevice, shared_fields
from aihwjax.random import Stream
from aihwjax.typing import Shape

Unknowns: TypeAlias = dict[str, Any]
"""Arrays by name: ``up``, ``down``, ``top``, ``bottom`` and ``draws`` of each device, ``shape``, ``noise`` of all."""

_SCALE = 0.3
"""Spread with which the draws of a model are scaled while they are searched."""
# A bound that no reading shows is this part of the device's range beyond its readings, at first
_BEYOND = 0.1


class Given(Stream):
    """A source of the draws that are searched, in the place of random ones; others are those of the mean device."""

    values: Mapping[str, jax.Array]
    """Standard normals by name."""
    name: str
    """Whose draws this source gives."""

    @classmethod
    def of(cls, values: Mapping[str, jax.Array], name: str = "") -> Given:
        """Return the source of given values.

        Args:
            values: Standard normals by name.
            name: Whose they are.
        """
        source = cls(None, (0, 0))  # type: ignore[arg-type]  # what a stream is asked for is answered below
        source.values, source.name = values, name
        return source

    def child(self, name: Any) -> Given:
        """Return the source of a name."""
        return Given.of(self.values, str(name))

    def exact_normal(self, shape: Shape) -> jax.Array:
        """Return the given draws, or zeros."""
        return jnp.broadcast_to(self.values.get(self.name, jnp.zeros(())), shape)

    def uniform(self, shape: Shape) -> jax.Array:
        """Return a half."""
        return jnp.full(shape, 0.5, jnp.float32)


@dataclass(frozen=True)
class Layout:
    """Which numbers of a device are searched; hashable, so that equal ones share a compiled program."""

    shape: tuple[str, ...]
    """Fields that shape the steps of all devices."""
    draws: tuple[str, ...]
    """Names of draws of the model, each with a field of the same name and ``_dtod`` behind it."""
    devices: int
    """Measured devices."""

    @classmethod
    def of(cls, device: PulsedDevice, devices: int) -> Layout:
        """Return what is searched of a device by default: ``fitted`` of its class, else all numbers of its own.

        Args:
            device: The model.
            devices: How many were measured.
        """
        names = device.fitted
        if names is None:
            names = tuple(name for name in own_numbers(device) if getattr(device, name) is not None)
        spreads = {name.removesuffix("_dtod") for name in names if name.endswith("_dtod")}
        shape = tuple(name for name in names if not name.endswith(("_dtod", "_std")))
        draws = tuple(name for name in shape if name in spreads) if devices > 1 else ()
        return cls(shape, draws, devices)

    @property
    def each(self) -> int:
        """Parameters of each device."""
        return 4 + len(self.draws)


def own_numbers(device: PulsedDevice) -> list[str]:
    """Return the numeric fields that a class adds to those of all pulsed devices and of write noise."""
    shared = {*shared_fields(device), "write_noise_std"}
    return [
        field.name
        for field in dataclasses.fields(device)  # type: ignore[arg-type]
        if "number" in field.metadata and field.name not in shared
    ]


def held(value: Any) -> np.ndarray:
    """Return which entries of a field are searched, as factors 0 or 1: of a table all but the middle one.

    The middle one stays, because the size of the step has the scale.
    """
    free = np.ones(np.shape(value), np.float32)
    if free.ndim == 1:
        free[free.size // 2] = 0.0
    return free


def shape_values(device: PulsedDevice, layout: Layout, unknowns: Unknowns) -> dict[str, jax.Array]:
    """Return the fields that shape the steps, each an array.

    Args:
        device: The model, with the values at which the search began.
        layout: Which are searched.
        unknowns: The numbers.
    """
    found = {}
    for name in layout.shape:
        start = jnp.asarray(getattr(device, name), jnp.float32)
        scale = jnp.where(start == 0, 0.1, 0.5 * jnp.abs(start))
        free = held(start) if name != "parameters" else 1.0
        found[name] = start + scale * free * unknowns["shape"][name]
    return found


def configured(device: PulsedDevice, layout: Layout, unknowns: Unknowns) -> PulsedDevice:
    """Return the model with the numbers that all devices share.

    Args:
        device: The model, with the values at which the search began.
        layout: Which are searched.
        unknowns: The numbers.
    """
    values: dict[str, Any] = {}
    for name, value in shape_values(device, layout, unknowns).items():
        values[name] = tuple(value) if isinstance(getattr(device, name), tuple) else value
    spreads = {f"{name}_dtod": _SCALE for name in layout.draws}
    return device.replace({**values, **spreads, "dw_min_std": jnp.exp(unknowns["noise"])})


def draws(layout: Layout, unknowns: Unknowns) -> dict[str, jax.Array]:
    """Return the standard normals of the model, whose mean over the devices is 0, ``(1, devices)`` each."""
    found = {name: unknowns["draws"][name] for name in layout.draws}
    return {name: (value - value.mean())[None] for name, value in found.items()}


def state_of(
    device: PulsedDevice, layout: Layout, unknowns: Unknowns, data: Mapping[str, jax.Array]
) -> tuple[PulsedDevice, DeviceState]:
    """Return the configuration and the parameters of each measured device, ``(1, devices)``.

    Args:
        device: The model.
        layout: Which of its numbers are searched.
        unknowns: The numbers.
        data: Of :func:`aihwjax.fitting.likelihood.prepared`.
    """
    shift = jnp.asarray(getattr(device, "reference_mean", 0.0), jnp.float32)

    def outside(place: jax.Array, is_atom: jax.Array) -> jax.Array:
        # a bound at which readings rest is there; another one is beyond all of them
        return data["span"] * jnp.where(is_atom, 0.05 * place, jax.nn.softplus(place))

    top = data["highest"] + outside(unknowns["top"], data["top_rests"]) + shift
    bottom = data["lowest"] - outside(unknowns["bottom"], data["bottom_rests"]) + shift
    up, down = data["step_up"] * jnp.exp(unknowns["up"]), data["step_down"] * jnp.exp(unknowns["down"])
    state = DeviceState(
        max_bound=top[None],
        min_bound=bottom[None],
        dwmin_up=up[None],
        dwmin_down=down[None],
        reset_bias=jnp.zeros_like(up)[None],
    )
    own = configured(device, layout, unknowns)
    own = own.replace(w_max=jnp.mean(top), w_min=jnp.mean(bottom))
    return own, own.sample_model(Given.of(draws(layout, unknowns)), (1, layout.devices), state)


def starts(device: PulsedDevice, layout: Layout, data: Mapping[str, jax.Array], key: jax.Array) -> Unknowns:
    """Return where a search begins: at the model's own numbers, or beside them.

    Args:
        device: The model.
        layout: Which of its numbers are searched.
        data: Of :func:`aihwjax.fitting.likelihood.prepared`.
        key: Where beside.
    """

    def beside(name: str) -> jax.Array:
        value = jnp.asarray(getattr(device, name), jnp.float32)
        return jax.random.normal(jax.random.fold_in(key, layout.shape.index(name)), value.shape)

    away = jnp.log(jnp.expm1(jnp.asarray(_BEYOND)))
    zeros = jnp.zeros(layout.devices, jnp.float32)
    sigma = known(device.dw_min_std)
    return {
        "up": zeros,
        "down": zeros,
        "top": jnp.where(data["top_rests"], 0.0, away),
        "bottom": jnp.where(data["bottom_rests"], 0.0, away),
        "draws": dict.fromkeys(layout.draws, zeros),
        "shape": {name: beside(name) for name in layout.shape},
        "noise": jnp.log(jnp.asarray(float(sigma) if sigma.size == 1 and sigma > 0 else 0.3, zeros.dtype)),
    }
