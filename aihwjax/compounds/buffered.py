"""Tiki-Taka with a digital buffer between the devices (TTv2).

Spec: compounds, section 7; Gokmen, Frontiers in Artificial Intelligence 2021.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from aihwjax.compounds.moves import Memory, Reads
from aihwjax.compounds.transfer import TransferBase
from aihwjax.config import configclass, number, part
from aihwjax.pulses import UpdateParameters
from aihwjax.typing import Number, Shape


def single_pulse() -> UpdateParameters:
    """Return the default of buffered writes: one sure pulse a step."""
    return UpdateParameters(desired_bl=1, update_bl_management=False, update_management=False)


def whole_steps(total: jax.Array, most: Number | jax.Array) -> jax.Array:
    """Return the whole steps in a buffer, at most ``most`` of either sign."""
    return jnp.clip(jnp.trunc(total), -jnp.asarray(most, jnp.float32), jnp.asarray(most, jnp.float32))


@configclass
class BufferedTransferCompound(TransferBase):
    """Tiki-Taka, second version: reads are summed in a digital buffer, and whole steps are written.

    When to use: where the reads are noisy; the buffer averages them before anything is written.
    Spec: compounds, section 7; Gokmen, Frontiers in Artificial Intelligence 2021,
    doi 10.3389/frai.2021.699148.

    Memory: ``buffer k`` between device k and k + 1, in weight units, a line for each
    slice. ``with_reset_prob`` has no effect.
    """

    transfer_update: UpdateParameters = part(single_pulse)
    """Pulses of the writes; ``desired_bl`` also bounds the steps of a write."""
    thres_scale: Number = number(1.0, above=0)
    """Buffer content that makes a step, in units of the target's granularity."""
    step: Number = number(1.0)
    """Size of a written step, in units of the target's granularity."""
    momentum: Number = number(0.1)
    """Part of the buffer that stays after a step."""
    forget_buffer: bool = True
    """Whether a step clears the buffer down to ``momentum``, else only what was written is subtracted."""

    at_once: ClassVar[tuple[str, ...]] = ("thres_scale", "step", "momentum", "forget_buffer")

    def start(self, shape: Shape) -> Memory:
        hidden = len(self.unit_cell_devices) - 1
        return {**super().start(shape), **{f"buffer {k}": self.lines(shape) for k in range(hidden)}}

    def transfer_rate(self, source: int, learning_rate: Number | jax.Array) -> Number | jax.Array:
        rate = super().transfer_rate(source, learning_rate)
        if self.fully_hidden():
            return rate
        weights = [jnp.asarray(weight, jnp.float32) for weight in self.weighting()]
        own, following = weights[source], weights[source + 1]
        both = (own > 0) & (following > 0)
        return jnp.where(both, rate * own / jnp.where(both, following, 1.0), rate)

    def writes_only_steps(self) -> bool:
        return True

    def move(
        self, memory: Memory, source: int, target: int, reads: Reads
    ) -> tuple[Memory, jax.Array, Number | jax.Array]:
        name, granularity = f"buffer {source}", self.unit_cell_devices[target].weight_granularity()
        threshold = self.thres_scale * granularity
        slices = reads.slices
        old = slices.take_lines(memory[name])
        total = old + jnp.abs(reads.rate) * reads.values
        steps = whole_steps(total / threshold, self.transfer_update.desired_bl)
        if self.forget_buffer:
            left = self.momentum * total
        else:
            left = total - (1 - jnp.clip(self.momentum, 0.0, 1.0)) * steps * threshold
        new = jnp.where(reads.live[:, None], jnp.where(steps != 0, left, total), old)
        return {**memory, name: slices.put_lines(memory[name], new)}, -steps, self.step * granularity

    def buffers(self) -> dict[str, str]:
        return {f"buffered_FP_weight_{k}": f"buffer {k}" for k in range(len(self.unit_cell_devices) - 1)}
