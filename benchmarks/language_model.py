"""Does a language model keep on chips what it knows, if it is trained for them, and what does a step of that cost?

``python -m benchmarks.language_model [--quick]``: a transformer learns the language reference of Python, character by
character, in digital. Its copy on inference tiles is fine-tuned to give the same answers (distillation), once by the
recipe for chips and once without noise and clip. Both are programmed onto chips of phase-change memory and read later.

The recipe: noise of 0.03 of the largest weight of each output, weights clipped at 2.5 standard deviations, converters
of 8 bits, an input range for each tile that begins at 18 standard deviations of its inputs and is learned, and AdamW.
The weights of an output are scaled so that the largest is 1 (remap), which makes the modifier relative to it.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

import aihwjax as aj
from aihwjax import nn
from aihwjax.optim import take_apart, training_step

DAY = 86400.0
TIMES = (1.0, 3600.0, DAY, 30 * DAY)
"""Seconds after programming at which chips are read."""
EIGHT_BITS = 1 / 254


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes and lengths."""

    width: int = 64
    blocks: int = 2
    heads: int = 4
    context: int = 64
    """Characters that the model sees."""
    batch: int = 8
    pretraining: int = 3000
    """Steps of the digital model."""
    finetuning: int = 1500
    """Steps of each copy on tiles."""
    ranges_from: int = 500
    """Steps from whose inputs the input ranges are made."""
    unseen: int = 64
    """Pieces of text that are evaluated."""
    chips: int = 8
    """Chips of each model."""


FULL = Settings()
QUICK = Settings(pretraining=400, finetuning=150, ranges_from=50, unseen=16, chips=4)
"""Settings of ``--quick``."""


class Block(nnx.Module):
    """Attention and two layers, each with its norm before."""

    def __init__(self, settings: Settings, rngs: nnx.Rngs) -> None:
        width = settings.width
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
        self.attend = nnx.MultiHeadAttention(settings.heads, width, decode=False, rngs=rngs)
        self.wide = nnx.Linear(width, 4 * width, rngs=rngs)
        self.back = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: Float[Array, "batch context width"], mask: Array) -> Float[Array, "batch context width"]:
        x = x + self.attend(self.norms[0](x), mask=mask)
        return x + self.back(nnx.gelu(self.wide(self.norms[1](x))))


class LanguageModel(nnx.Module):
    """A transformer over characters, as Flax has it."""

    def __init__(self, settings: Settings, characters: int, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(characters, settings.width, rngs=rngs)
        self.places = nnx.Embed(settings.context, settings.width, rngs=rngs)
        self.blocks = nnx.List([Block(settings, rngs) for _ in range(settings.blocks)])
        self.norm = nnx.LayerNorm(settings.width, rngs=rngs)
        self.head = nnx.Linear(settings.width, characters, rngs=rngs)

    def __call__(self, tokens: Int[Array, "batch context"]) -> Float[Array, "batch context characters"]:
        mask = nnx.make_causal_mask(tokens)
        x = self.embed(tokens) + self.places(jnp.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))


@dataclasses.dataclass(frozen=True)
class Text:
    """Text as numbers of characters, cut into what is learned and what is not."""

    learned: np.ndarray
    unseen: np.ndarray
    characters: int

    def batches(self, settings: Settings, steps: int, seed: int) -> Int[Array, "steps batch length"]:
        """Return pieces of the text, one character longer than the context, for a number of steps."""
        length = settings.context + 1
        starts = np.random.default_rng(seed).integers(len(self.learned) - length, size=(steps, settings.batch, 1))
        return jnp.asarray(self.learned[starts + np.arange(length)])

    def pieces(self, settings: Settings) -> tuple[Int[Array, "n context"], Int[Array, "n context"]]:
        """Return unseen pieces and the character that follows each of theirs."""
        length = settings.context + 1
        pieces = self.unseen[: settings.unseen * length].reshape(-1, length)
        return jnp.asarray(pieces[:, :-1]), jnp.asarray(pieces[:, 1:])


def text() -> Text:
    """Return the text that comes with Python: its language reference."""
    from pydoc_data.topics import topics

    written = "".join(topics[name] for name in sorted(topics))
    kept = "".join(each for each in written.lower() if each in "\n (),.:=_'*-" or (each.isalpha() and each.isascii()))
    alphabet = sorted(set(kept))
    numbers = np.searchsorted(alphabet, np.array(list(kept))).astype(np.int32)
    cut = 9 * len(numbers) // 10
    return Text(numbers[:cut], numbers[cut:], len(alphabet))


def tiles(settings: Settings, recipe: bool) -> aj.TileConfig:
    """Return the tiles of the fine-tuned models: with the recipe for chips, or without its noise and clip.

    Args:
        settings: How many steps make the input ranges.
        recipe: Whether there are noise and clip.
    """
    config = aj.InferenceRPUConfig(
        forward=aj.IOParameters(
            inp_res=EIGHT_BITS, out_res=EIGHT_BITS, out_noise=0.0, noise_management="NONE", bound_management="NONE"
        ),
        pre_post=aj.PrePostProcessingParameter(
            input_range=aj.InputRangeParameter(
                enable=True, init_from_data=settings.ranges_from, init_std_alpha=18.0, decay=0.01
            )
        ),
        mapping=aj.MappingParameter(weight_scaling_omega=1.0, weight_scaling_columnwise=True),
        remap=aj.WeightRemapParameter(type="CHANNELWISE_SYMMETRIC"),
    )
    if not recipe:
        return config
    return config.replace(
        {
            "modifier": aj.WeightModifierParameter(type="ADD_NORMAL", std_dev=0.03),
            "clip": aj.WeightClipParameter(type="LAYER_GAUSSIAN", sigma=2.5),
        }
    )


def log_loss(logits: Float[Array, "*batch characters"], targets: Int[Array, "*batch"]) -> Float[Array, ""]:
    """Return the mean negative logarithm of the probability of the right character."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


def distance(
    student: Float[Array, "*batch characters"], teacher: Float[Array, "*batch characters"]
) -> Float[Array, ""]:
    """Return the cross-entropy of the answers of a model, given those of its teacher."""
    return optax.softmax_cross_entropy(student, nnx.softmax(teacher)).mean()


def pretrained(settings: Settings, corpus: Text, key: int) -> LanguageModel:
    """Return a digital model that has learned the text."""
    model = LanguageModel(settings, corpus.characters, nnx.Rngs(key))
    graph, state = nnx.split(model)
    rate = optax.cosine_decay_schedule(3e-3, settings.pretraining)
    transformation = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.01))

    def loss(state: Any, tokens: Array) -> Array:
        return log_loss(nnx.merge(graph, state)(tokens[:, :-1]), tokens[:, 1:])

    run = _digital_loop(loss, transformation)
    state, _, _ = run(state, transformation.init(state), corpus.batches(settings, settings.pretraining, key))
    nnx.update(model, state)
    return model


def _digital_loop(loss: Callable[..., Array], transformation: optax.GradientTransformation) -> Callable[..., Any]:
    @jax.jit
    def run(state: Any, memory: Any, batches: Array, *given: Any) -> tuple[Any, Any, Array]:
        def step(carry: tuple[Any, Any], tokens: Array) -> tuple[tuple[Any, Any], Array]:
            state, memory = carry
            value, slopes = jax.value_and_grad(loss)(state, tokens, *given)
            changes, memory = transformation.update(slopes, memory, state)
            return (optax.apply_updates(state, changes), memory), value

        (state, memory), losses = jax.lax.scan(step, (state, memory), batches)
        return state, memory, losses

    return run


def digital_step(settings: Settings, teacher: LanguageModel, corpus: Text) -> Callable[[int], None]:
    """Return a function that takes a number of steps of distillation in digital, for the cost of one."""
    graph, state = nnx.split(teacher)
    transformation = optax.adamw(5e-4, weight_decay=0.01)

    def loss(state: Any, tokens: Array, answers: Any) -> Array:
        wanted = nnx.merge(graph, answers)(tokens[:, :-1])
        return distance(nnx.merge(graph, state)(tokens[:, :-1]), wanted)

    run, memory = _digital_loop(loss, transformation), transformation.init(state)

    def steps(count: int) -> None:
        jax.block_until_ready(run(state, memory, corpus.batches(settings, count, 0), state))

    return steps


def optimizer(settings: Settings) -> aj.AnalogOptimizer:
    """Return AdamW for weights, without decay and with a rate of their own for input ranges."""
    rate = optax.cosine_decay_schedule(5e-4, settings.finetuning)
    kinds = {"other": optax.adamw(rate, weight_decay=0.01), "input_range": optax.adam(1e-2)}

    def kind(params: Any) -> Any:
        return nnx.map_state(lambda path, _: path[-1] if path[-1] in kinds else "other", params)

    return aj.analog_optimizer(optax.multi_transform(kinds, kind))


class FineTuning:
    """A copy of a model on tiles that learns to answer as the model does."""

    def __init__(self, settings: Settings, teacher: LanguageModel, corpus: Text, *, recipe: bool) -> None:
        self.settings, self.corpus = settings, corpus
        graph, self.answers = nnx.split(teacher)
        self.model = aj.convert_to_analog(teacher, tiles(settings, recipe), key=1)
        self.parts = take_apart(self.model)
        learner = optimizer(settings)
        self.memory = learner.init(self.model)

        def loss(model: nnx.Module, tokens: Array, answers: Any, key: Array) -> Array:
            wanted = nnx.merge(graph, answers)(tokens[:, :-1])
            return distance(nn.call(model, tokens[:, :-1], key=key), wanted)

        step = training_step(loss, learner, self.parts)

        @jax.jit
        def run(moving: Any, memory: Any, fixed: Any, answers: Any, key: Array, batches: Array) -> Any:
            def body(carry: Any, numbered: tuple[Array, Array]) -> tuple[Any, Array]:
                number, tokens = numbered
                moving, memory, value = step(*carry, fixed, jax.random.fold_in(key, number), tokens, answers)
                return (moving, memory), value

            return jax.lax.scan(body, (moving, memory), (jnp.arange(len(batches)), batches))

        self._run = run

    def steps(self, count: int, keep: bool = False) -> Float[Array, " steps"]:
        """Take steps and return their losses; the model learns from them if they are kept."""
        batches = self.corpus.batches(self.settings, count, 1)
        key = jax.random.key(2)
        (moving, memory), losses = self._run(
            self.parts.moving, self.memory, self.parts.fixed, self.answers, key, batches
        )
        jax.block_until_ready(losses)
        if keep:
            self.memory = memory
            nnx.update(self.model, moving)
            self.parts = take_apart(self.model)
        return losses


def milliseconds(steps: Callable[[int], Any], count: int, rounds: int = 3) -> float:
    """Return what a step takes at best, after the program was compiled."""
    steps(count)
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        steps(count)
        taken.append(1e3 * (time.perf_counter() - start) / count)
    return min(taken)


@dataclasses.dataclass(frozen=True)
class Result:
    """What was found: perplexities, and milliseconds a step."""

    digital: float
    """Perplexity of the digital model."""
    chips: dict[str, nn.OverTime]
    """Logarithm of the perplexity of each chip at each time, by how the model was fine-tuned."""
    step: float
    """Milliseconds of a step of the recipe."""
    digital_step: float
    """Milliseconds of a step of distillation in digital."""


def measured(settings: Settings, key: int = 0) -> Result:
    """Train, program, and evaluate.

    Args:
        settings: How large and how long.
        key: Seed of the digital model.
    """
    corpus = text()
    teacher = pretrained(settings, corpus, key)
    tokens, targets = corpus.pieces(settings)
    found = {}
    for name, recipe in (("plain", False), ("recipe", True)):
        tuning = FineTuning(settings, teacher, corpus, recipe=recipe)
        tuning.steps(settings.finetuning, keep=True)
        # without modifier, so that both are evaluated by one program
        model = nn.with_config(tuning.model, tiles(settings, recipe=False), key=4)
        found[name] = aj.evaluate_over_time(model, (tokens, targets), TIMES, settings.chips, 3, metric=log_loss)
    count = min(50, settings.finetuning)
    step = milliseconds(tuning.steps, count)
    digital = milliseconds(digital_step(settings, teacher, corpus), count)
    perplexity = float(jnp.exp(log_loss(nnx.jit(lambda model, x: model(x))(teacher, tokens), targets)))
    return Result(perplexity, found, step, digital)


def main(arguments: list[str] | None = None) -> Result:
    """Run what the command line asks for, and print it.

    Args:
        arguments: The command line without the program's name; ``None``: that of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.language_model", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="fewer steps and chips")
    settings = QUICK if parser.parse_args(arguments).quick else FULL
    result = measured(settings)
    show(result)
    return result


def show(result: Result) -> None:
    """Print the perplexities of the chips, and what a step costs."""
    print(f"digital: perplexity {result.digital:.3f}")
    print(f"{'seconds':>10} " + " ".join(f"{name:>16}" for name in result.chips))
    for number, t in enumerate(TIMES):
        columns = (np.exp(table.values[:, number]) for table in result.chips.values())
        print(f"{t:10.3g} " + " ".join(f"{each.mean():8.3f} ± {each.std():5.3f}" for each in columns))
    ratio = result.step / result.digital_step
    print(f"step: {result.step:.1f} ms on tiles, {result.digital_step:.1f} ms in digital, {ratio:.2f} times")


if __name__ == "__main__":
    main()
