"""What does making a transformer of 100 million parameters analog take, in a fresh process?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.rates import Options
from benchmarks.record import Record

LIMIT = 1.3
"""Memory that it may take, in times of the model that it makes."""


def records(options: Options) -> list[Record]:
    """Measure a conversion of the model itself, and of a copy of it."""
    return [record(way, options) for way in ("inplace", "copy")]


def record(way: str, options: Options) -> Record:
    """Measure one of the two.

    The figure is what the conversion adds to the memory of the process at its peak, in times of the analog model: to
    what was there before, which is the given model; ``inplace`` to the peak before, since that model is used up. The
    details have the peak of the whole process as well, with all that Flax needs to build and draw the given model, over
    an interpreter that has only imported: no conversion can make that smaller.

    Args:
        way: ``"inplace"`` or ``"copy"``.
        options: Sizes.
    """
    seen = _fresh(way, options.quick)
    before = seen["peak_before_mib"] if way == "inplace" else seen["before_mib"]
    ratio = (seen["peak_mib"] - before) / seen["analog_mib"]
    return Record(
        name=f"conversion/{way}",
        unit="times the model",
        higher_is_better=False,
        ours=ratio,
        our_setting="perfect converters, tiles of the default size",
        details={
            "limit": LIMIT,
            "within_limit": ratio <= LIMIT,
            "whole_process": (seen["peak_mib"] - seen["imports_mib"]) / seen["analog_mib"],
            "whole_process_before": (seen["peak_before_mib"] - seen["imports_mib"]) / seen["analog_mib"],
            **seen,
        },
    )


def _fresh(way: str, quick: bool) -> dict[str, float]:
    """Convert in a fresh process and return what it printed."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks.conversion", way, str(int(quick))]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def transformer(layers: int, width: int, vocabulary: int) -> Any:
    """Return a language model in Flax: attention and two matrices in each layer, tokens by one matrix in and out.

    Args:
        layers: How many.
        width: Features of a token.
        vocabulary: Number of tokens.
    """
    from flax import nnx

    class Block(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.attend = nnx.MultiHeadAttention(width // 64, width, decode=False, rngs=rngs)
            self.wide = nnx.Linear(width, 4 * width, rngs=rngs)
            self.back = nnx.Linear(4 * width, width, rngs=rngs)
            self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])

        def __call__(self, x: Any) -> Any:
            x = x + self.attend(self.norms[0](x))
            return x + self.back(nnx.gelu(self.wide(self.norms[1](x))))

    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.embed = nnx.Embed(vocabulary, width, rngs=rngs)
            self.blocks = nnx.List([Block(rngs) for _ in range(layers)])

        def __call__(self, tokens: Any) -> Any:
            x = self.embed(tokens)
            for block in self.blocks:
                x = block(x)
            return self.embed.attend(x)

    return Model(nnx.Rngs(0))


def convert(way: str, quick: bool) -> dict[str, float]:
    """Convert in this process and return its memory, in MiB, the number of parameters and the seconds.

    Args:
        way: ``"inplace"`` or ``"copy"``.
        quick: A small model instead.
    """
    import time

    import jax
    import jax.numpy as jnp
    from flax import nnx

    import aihwjax as aj
    from benchmarks.measure import peak_rss_mib, rss_mib

    imports = peak_rss_mib()
    model = transformer(2, 128, 512) if quick else transformer(12, 768, 16384)
    jax.block_until_ready(nnx.state(model))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    before, built = rss_mib(), peak_rss_mib()
    config = aj.InferenceRPUConfig(forward=aj.IOParameters(is_perfect=True))
    start = time.perf_counter()
    analog = aj.convert_to_analog(model, config, inplace=way == "inplace")
    jax.block_until_ready(nnx.state(analog))
    seconds, peak = time.perf_counter() - start, peak_rss_mib()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(nnx.state(analog)) if isinstance(leaf, jax.Array))
    assert aj.nn.call(analog, jnp.zeros((1, 2), int), key=0).shape[-1] > 1
    return {
        "parameters": parameters,
        "imports_mib": imports,
        "before_mib": before,
        "peak_before_mib": built,
        "peak_mib": peak,
        "analog_mib": size / 2**20,
        "seconds": seconds,
    }


if __name__ == "__main__":
    print(json.dumps(convert(sys.argv[1], sys.argv[2] == "1")))
