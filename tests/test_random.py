"""Quality of the noise engines. Sample sizes and tolerances: five standard errors of each statistic."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aihwjax import random
from aihwjax.random import NoiseEngine

N = 1 << 20
ENGINES = list(NoiseEngine)


def normals(engine: NoiseEngine, seed: int, shape: tuple[int, ...] = (N,)) -> np.ndarray:
    source = random.stream(jax.random.key(seed), engine)
    return np.asarray(source.normal(shape), np.float64)


@pytest.mark.parametrize("engine", ENGINES)
def test_moments_of_normals(engine: NoiseEngine) -> None:
    z = normals(engine, 1)
    assert abs(z.mean()) < 5 / np.sqrt(N)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / N) + 5e-4
    assert abs((z**3).mean()) < 5 * np.sqrt(15 / N)
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / N) + 5e-3


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("limit", "slack"), [(1, 0.01), (2, 0.02), (3, 0.04), (4, 0.15)])
def test_tails_of_normals(engine: NoiseEngine, limit: float, slack: float) -> None:
    z = np.concatenate([normals(engine, seed) for seed in (2, 3, 4, 5)])
    expected = 2 * stats.norm.sf(limit)
    error = np.sqrt(expected / z.size)
    assert abs((np.abs(z) > limit).mean() - expected) < 5 * error + slack * expected


@pytest.mark.parametrize("engine", ENGINES)
def test_uniforms(engine: NoiseEngine) -> None:
    u = np.asarray(random.stream(jax.random.key(6), engine).uniform((N,)), np.float64)
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, bins=256, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("engine", ENGINES)
def test_exponentials(engine: NoiseEngine) -> None:
    draws = np.asarray(random.stream(jax.random.key(3), engine).exponential((N,)), np.float64)
    assert draws.min() >= 0
    for power, moment in ((1, 1.0), (2, 2.0), (3, 6.0)):
        spread = np.std(draws**power) / np.sqrt(N)
        assert abs(np.mean(draws**power) - moment) < 4 * spread
    for limit in (0.1, 1.0, 5.0):
        share = np.exp(-limit)
        assert abs(np.mean(draws > limit) - share) < 4 * np.sqrt(share / N)


def test_exponentials_are_minus_logarithms() -> None:
    word = jnp.asarray([0, 255, 2**31, 2**32 - 256, 2**32 - 1, 123456789, 3 * 2**30], jnp.uint32)
    uniform = ((np.asarray(word) >> 8) + 1.0) / 2**24
    np.testing.assert_allclose(random.exponential_of(word), -np.log(uniform), atol=5e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_bit_is_fair_and_bits_are_independent(engine: NoiseEngine) -> None:
    words = np.asarray(random.stream(jax.random.key(7), engine).bits((N // 4,)))
    bits = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1).astype(np.float64)
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(len(bits))
    correlation = np.corrcoef(bits.T) - np.eye(32)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(len(bits))


@pytest.mark.parametrize("engine", ENGINES)
def test_serial_and_crosspoint_correlation(engine: NoiseEngine) -> None:
    z = normals(engine, 8, (1024, 1024))
    for rows, columns in [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (7, 3), (0, 32), (32, 0), (256, 0), (0, 256)]:
        other = np.roll(z, (rows, columns), (0, 1))
        for power in (1, 2):
            a, b = z**power - (power == 2), other**power - (power == 2)
            assert abs((a * b).mean()) < 5 * a.var() / np.sqrt(N), (rows, columns, power)


def families(seed: int) -> dict[str, random.Noise]:
    """Sources that are as close to each other as sources can be."""
    base = jax.random.key(seed)
    root = random.stream(base, NoiseEngine.COUNTER)
    result: dict[str, random.Noise] = {f"key {i}": jax.random.key(seed + i) for i in range(8)}
    result |= {f"fold {i}": jax.random.fold_in(base, i) for i in range(8)}
    result |= {f"child {i}": random.derive(root, i) for i in range(24)}
    result |= {f"named {name}": random.derive(root, name) for name in ("forward", "backward", "trains", "pulses")}
    result |= {f"grandchild {i}": random.derive(random.derive(root, 1), i) for i in range(12)}
    result |= {f"grandchild of {i}": random.derive(random.derive(root, i), 1) for i in range(2, 12)}
    return result


def test_streams_of_related_keys_are_unrelated() -> None:
    n = 40_000
    sources = families(100)
    z = np.stack([random.stream(s, NoiseEngine.COUNTER).normal((n,)) for s in sources.values()]).astype(np.float64)
    correlation = np.corrcoef(z) - np.eye(len(z))
    # 2,000 and some pairs: the largest of so many is below 4.5 with probability 0.99
    assert np.abs(correlation).max() < 4.8 / np.sqrt(n)
    squares = np.corrcoef(z**2) - np.eye(len(z))
    assert np.abs(squares).max() < 4.8 / np.sqrt(n)
    # streams must not be shifted copies of each other either
    streams = {name: random.stream(source, NoiseEngine.COUNTER) for name, source in sources.items()}
    words = {name: set(np.asarray(stream.bits((2000,))).tolist()) for name, stream in streams.items()}
    names = list(words)
    shared = max(len(words[a] & words[b]) for i, a in enumerate(names) for b in names[:i])
    assert shared <= 2


def test_mean_of_small_streams_over_many_children() -> None:
    root = random.stream(jax.random.key(9), NoiseEngine.COUNTER)
    z = np.asarray(jax.vmap(lambda i: root.child(i).normal((16,)))(jnp.arange(1 << 16)), np.float64)
    assert np.abs(z.mean(0)).max() < 5 / 256
    assert np.abs(z.var(0) - 1).max() < 5 * np.sqrt(2) / 256
    assert np.abs((z[1:] * z[:-1]).mean(0)).max() < 5 / 256


@pytest.mark.parametrize("engine", ENGINES)
def test_an_entry_depends_on_its_index_only(engine: NoiseEngine) -> None:
    source = random.stream(jax.random.key(10), engine)
    many = source.normal((64, 17))
    few = source.normal((3, 17))
    assert np.array_equal(many[:3], few)
    batched = jax.vmap(lambda key: random.stream(key, engine).normal((3, 17)))(
        jnp.stack([jax.random.key(10), jax.random.key(11)])
    )
    assert np.array_equal(batched[0], few)


def test_normal_at_positions_is_the_same_stream() -> None:
    source = random.stream(jax.random.key(11), NoiseEngine.COUNTER)
    whole = source.normal((5, 7))
    position = jnp.uint32(2 * 7) + jnp.arange(7, dtype=jnp.uint32)
    assert np.array_equal(source.normal_at(position), whole[2])


def test_a_stream_serves_the_other_engine() -> None:
    source = random.stream(jax.random.key(12), NoiseEngine.COUNTER)
    exact = random.stream(source.child("a"), NoiseEngine.THREEFRY)
    other = random.stream(source.child("b"), NoiseEngine.THREEFRY)
    assert exact.pair is None
    assert not np.array_equal(exact.normal((5,)), other.normal((5,)))
    assert random.stream(exact, NoiseEngine.COUNTER).pair is not None


def test_exact_normals_of_the_extreme_words_are_finite_and_symmetric(monkeypatch: pytest.MonkeyPatch) -> None:
    words = jnp.asarray([0, 2**32 - 1], jnp.uint32)
    source = random.stream(jax.random.key(0), NoiseEngine.COUNTER)
    monkeypatch.setattr(random.Stream, "bits", lambda self, shape: words)
    low, high = np.asarray(source.exact_normal((2,)))
    assert 5 < high < 6
    assert low == pytest.approx(-high, abs=1e-6)


@pytest.mark.parametrize("label", [0, 3, 2**31 - 1])
def test_a_child_is_the_same_whether_its_number_is_known_or_traced(label: int) -> None:
    source = random.stream(jax.random.key(0), NoiseEngine.COUNTER)
    known, traced = source.child(label).pair, jax.jit(lambda number: source.child(number).pair)(jnp.asarray(label))
    assert [int(word) for word in known] == [int(word) for word in traced]
