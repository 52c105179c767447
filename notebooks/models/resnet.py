"""ResNet-18 in Flax NNX, as it is written for digital training (He et al., 2015); nothing in it knows of tiles."""

from __future__ import annotations

import jax
from flax import nnx


class Block(nnx.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the size changes.

    Args:
        channels: Channels that come in.
        features: Channels that go out.
        strides: Step of the first convolution.
        rngs: Source of initial weights.
    """

    def __init__(self, channels: int, features: int, strides: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(channels, features, (3, 3), strides, use_bias=False, rngs=rngs)
        self.first_norm = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
        self.second = nnx.Conv(features, features, (3, 3), use_bias=False, rngs=rngs)
        self.second_norm = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
        if strides > 1 or channels != features:
            other = nnx.Conv(channels, features, (1, 1), strides, use_bias=False, rngs=rngs)
            self.shortcut = nnx.Sequential(other, nnx.BatchNorm(features, momentum=0.9, rngs=rngs))
        else:
            self.shortcut = nnx.Sequential()

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return images ``(n, height, width, features)``."""
        y = nnx.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return nnx.relu(y + self.shortcut(x))


class ResNet18(nnx.Module):
    """Seventeen convolutions and a linear layer, with three shortcuts of 1 x 1.

    Args:
        classes: Number of outputs.
        channels: Channels of an image.
        width: Channels of the first stage; the published network has 64.
        small: Images of some 30 pixels: the first convolution is 3 x 3, and its outputs are not pooled.
        rngs: Source of initial weights.
    """

    def __init__(
        self, classes: int = 1000, *, channels: int = 3, width: int = 64, small: bool = False, rngs: nnx.Rngs
    ) -> None:
        size, strides = ((3, 3), 1) if small else ((7, 7), 2)
        self.small = small
        self.stem = nnx.Conv(channels, width, size, strides, use_bias=False, rngs=rngs)
        self.stem_norm = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        stages = [width << min(stage, 3) for stage in range(4)]
        blocks = []
        for stage, features in enumerate(stages):
            before = stages[max(stage - 1, 0)]
            blocks.append(Block(before, features, 2 if stage else 1, rngs))
            blocks.append(Block(features, features, 1, rngs))
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(stages[-1], classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return logits ``(n, classes)`` of images ``(n, height, width, channels)``."""
        x = nnx.relu(self.stem_norm(self.stem(images)))
        if not self.small:
            x = nnx.max_pool(x, (3, 3), (2, 2), "SAME")
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(axis=(1, 2)))
