"""The language model for chips: its parts, and a tiny run of everything."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aihwjax as aj
from benchmarks import language_model
from benchmarks.language_model import Settings

TINY = Settings(
    width=8, blocks=1, heads=2, context=8, batch=4, pretraining=20, finetuning=4, ranges_from=2, unseen=4, chips=2
)


def test_the_text_is_cut_into_pieces_and_what_follows() -> None:
    corpus = language_model.text()
    assert len(corpus.learned) > 100_000
    assert corpus.learned.min() >= 0 and corpus.learned.max() < corpus.characters <= 64
    tokens, targets = corpus.pieces(TINY)
    assert tokens.shape == targets.shape == (4, 8)
    np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
    batches = corpus.batches(TINY, 3, 0)
    assert batches.shape == (3, 4, 9)
    assert not np.array_equal(batches[0], batches[1])


def test_the_model_sees_no_later_character() -> None:
    model = language_model.LanguageModel(TINY, 10, nnx.Rngs(0))
    tokens = jnp.arange(8)[None] % 10
    changed = tokens.at[0, 5].set(9)
    run = nnx.jit(lambda model, tokens: model(tokens))
    before, after = run(model, tokens), run(model, changed)
    np.testing.assert_allclose(before[0, :5], after[0, :5], atol=1e-6)
    assert not np.allclose(before[0, 5:], after[0, 5:])


def test_the_recipe_adds_noise_and_clip_and_nothing_else() -> None:
    plain, recipe = (language_model.tiles(TINY, each) for each in (False, True))
    assert recipe.replace({"modifier": plain.modifier, "clip": plain.clip}) == plain
    assert (recipe.modifier.std_dev, recipe.clip.sigma) == (0.03, 2.5)


@pytest.mark.slow
def test_everything_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(language_model, "QUICK", dataclasses.replace(TINY, finetuning=3))
    result = language_model.main(["--quick"])
    assert set(result.chips) == {"plain", "recipe"}
    assert all(table.values.shape == (2, len(language_model.TIMES)) for table in result.chips.values())
    assert all(np.isfinite(table.values).all() for table in result.chips.values())
    assert 1 < result.digital < 64
    assert "times" in capsys.readouterr().out
    corpus = language_model.text()
    teacher = language_model.pretrained(TINY, corpus, 0)
    tuning = language_model.FineTuning(TINY, teacher, corpus, recipe=True)
    tuning.steps(4, keep=True)
    ranges = [tile.input_range.get_value() for tile in aj.nn.analog_tiles(tuning.model).values()]
    assert all(jax.tree.leaves(jax.tree.map(lambda value: value > 5, ranges)))  # 18 standard deviations of inputs
    for tile in aj.nn.analog_tiles(tuning.model).values():
        largest = np.abs(tile.get_weights(apply_weight_scaling=False)).max(axis=-1)
        np.testing.assert_allclose(largest, 1.0, atol=1e-5)
