"""What is done to all weights between the products and updates: clip, remap into scales, perturb for training.

The parameters and formulas; :mod:`aihwjax.tile.maintenance` and :mod:`aihwjax.tile.modified_copy` apply them.
"""
