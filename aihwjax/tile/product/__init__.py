"""The analog product of inputs and weights: what happens between the digital input and the digital output.

In the order of the signal: the input is scaled (:mod:`~aihwjax.tile.product.input_scale`), converted
(:mod:`~aihwjax.tile.product.converters`), multiplied on the array with its noise
(:mod:`~aihwjax.tile.product.array`, :mod:`~aihwjax.tile.product.frozen`) and converted back, again with
a larger range where the output saturates (:mod:`~aihwjax.tile.product.bound_management`).
:mod:`~aihwjax.tile.product.mvm` is the whole. Nothing here knows a device or changes a weight.
"""
