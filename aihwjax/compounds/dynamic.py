"""Tiki-Taka with choppers and a reference that follows the fast device (AGAD).

Spec: compounds, section 9; Rasch et al., Nature Communications 2024.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from aihwjax.compounds.blocks import slice_count
from aihwjax.compounds.buffered import whole_steps
from aihwjax.compounds.chopped import ChoppedBase
from aihwjax.compounds.moves import Memory, Reads
from aihwjax.config import configclass, not_positive, number
from aihwjax.typing import Number, Shape


@configclass
class DynamicTransferCompound(ChoppedBase):
    """Tiki-Taka with choppers and a dynamic reference (AGAD): what counts is the change since the last flip.

    When to use: where the symmetry point of the fast device is not known at all; nothing has to be
    programmed. The first write comes after one period of the choppers and two reads of a slice.
    Spec: compounds, section 9; Rasch et al., Nature Communications 2024,
    doi 10.1038/s41467-024-51221-z.

    Memory besides that of the chopped compound: ``mean`` and ``past`` mean of the reads, and which
    slices were ``switched`` at their last read.
    """

    in_chop_random: bool = False
    """Whether choppers flip at random, else regularly."""
    experimental_correct_accumulation: bool = False
    """Whether a read is divided by the number of reads since the last regular flip."""
    buffer_cap: Number = number(0.0, off=not_positive, infinite=True)
    """Most in the buffer, in units of the steps of a write; only without ``forget_buffer``; 0 or infinity: no limit."""
    tail_weightening: Number = number(5.0, minimum=0, infinite=True)
    """Weight of the latest reads of a period in the running mean; infinity: it is the last read."""

    at_once: ClassVar[tuple[str, ...]] = ("experimental_correct_accumulation", "buffer_cap", "tail_weightening")

    def start(self, shape: Shape) -> Memory:
        slices, _ = slice_count((shape[0], shape[1]), self.transfer_columns)
        return {
            **super().start(shape),
            "mean": self.lines(shape),
            "past": self.lines(shape),
            "switched": jnp.zeros((slices,), bool),
        }

    def turns_with_sweeps(self) -> bool:
        # spec: compounds, bug 17: these never flip in the reference
        return super().turns_with_sweeps() and not self.reference_quirks

    def move(
        self, memory: Memory, source: int, target: int, reads: Reads
    ) -> tuple[Memory, jax.Array, Number | jax.Array]:
        slices, live, values = reads.slices, reads.live, reads.values
        on = live[:, None]
        period, sweeps = self.period(), memory["sweeps"]
        place = sweeps % period + 1
        inertia = jnp.minimum(jnp.asarray(self.tail_weightening, jnp.float32) / period, 1.0)
        old, mean, past = (slices.take_lines(memory[name]) for name in ("buffer", "mean", "past"))

        scale = self.scale(reads, memory)
        if self.experimental_correct_accumulation:
            scale = scale / jnp.minimum(place.astype(jnp.float32), 1 / self.unit_cell_devices[0].weight_granularity())
        switched = memory["switched"][slices.number]
        latest = jnp.where(switched[:, None], mean, past)
        total = scale[:, None] * self.sign(memory, slices) * (values - latest)
        # spec: compounds, bug 17: the reference ignores no_buffer
        if self.reference_quirks or not self.no_buffer:
            total = old + total
        most = self.transfer_update.desired_bl
        fires, writes = jnp.abs(total) >= 1, sweeps > period
        if not self.reference_quirks:  # spec: compounds, bug 17: the reference loses the steps before the first write
            fires = fires & writes
        steps = jnp.where(fires, whole_steps(total, most), 0.0)
        new = {
            "buffer": jnp.where(fires, self._kept(total, steps, most), total),
            "mean": (1 - inertia) * mean + inertia * values,
            "past": latest,
        }
        before = {"buffer": old, "mean": mean, "past": past}
        memory = {
            **memory,
            **{name: slices.put_lines(memory[name], jnp.where(on, new[name], before[name])) for name in new},
        }

        flips = jnp.broadcast_to(place == period, live.shape)
        if self.in_chop_random:
            random = reads.stream.child("in").uniform(live.shape) < self.in_chop_prob
            # spec: compounds, bug 17: in the reference random flips come on top of the regular ones
            flips = (flips | random) if self.reference_quirks else random
        memory = self.chopped(memory, slices, flips & live)
        marks = jnp.where(live, flips, switched)
        memory = {**memory, "switched": lax.dynamic_update_slice_in_dim(memory["switched"], marks, slices.start, 0)}
        slow = self.unit_cell_devices[target].weight_granularity()
        return self.swept(memory, slices, live), jnp.where(writes, -steps, 0.0), self.step * slow

    def _kept(self, total: jax.Array, steps: jax.Array, most: Number) -> jax.Array:
        """Return what stays in the buffer after a step."""
        if self.forget_buffer:
            return jnp.asarray(self.momentum) * total
        momentum = self.momentum if self.reference_quirks else jnp.clip(self.momentum, 0.0, 1.0)
        left = total - (1 - momentum) * steps
        if self.present("buffer_cap"):
            cap = jnp.asarray(self.buffer_cap, jnp.float32) * most
            left = jnp.where(cap > 0, jnp.clip(left, -cap, cap), left)
        return left

    def buffers(self) -> dict[str, str]:
        return {"buffered_FP_weight": "buffer", "running_mean_weight": "mean", "past_mean_weight": "past"}
