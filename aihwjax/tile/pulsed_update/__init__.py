"""The pulsed update of weights: from inputs and gradients to pulses, and from pulses to steps of the devices.

In the order of the signal: x and d become pulse trains (:mod:`~aihwjax.tile.pulsed_update.trains`), these
rows of bits (:mod:`~aihwjax.tile.pulsed_update.bit_lines`), and where rows and columns meet the device
makes a step: pulse by pulse (:mod:`~aihwjax.tile.pulsed_update.sequential`), or as many together as
:mod:`~aihwjax.tile.pulsed_update.planning` finds harmless (:mod:`~aihwjax.tile.pulsed_update.aggregated`,
:mod:`~aihwjax.tile.pulsed_update.counted_pulses`). :mod:`~aihwjax.tile.pulsed_update.pulsing` is the whole,
for the tile and for compounds.
"""
