"""Weights of a file in a model that is there already."""

from aihwjax.nn.loading.loading import Loaded, load_weights

__all__ = ["Loaded", "load_weights"]
