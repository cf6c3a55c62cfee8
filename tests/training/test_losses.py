"""Bits per byte: what it counts, and over which bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.training.losses import bits_per_byte, evaluate

TEXT = np.frombuffer(b"the quick brown fox jumps over the lazy dog " * 20, np.uint8)


def knows_nothing(tokens, key=None):
    return jnp.zeros((len(tokens), 256))


def says_the_same_again(tokens, key=None):
    """Gives the byte just seen the odds 255 : 1 against every other, that is 1/2."""
    return jnp.log(jnp.ones((len(tokens), 256)).at[jnp.arange(len(tokens)), tokens].set(255))


def test_knowing_nothing_costs_eight_bits():
    assert float(bits_per_byte(knows_nothing, TEXT[:11])) == pytest.approx(8)


def test_bits_are_minus_log2_of_the_probability_of_the_next_byte():
    window = np.frombuffer(b"aab", np.uint8)  # a → a at 1/2, then a → b at 1/2 · 1/255
    expected = (1 + 1 + np.log2(255)) / 2
    assert float(bits_per_byte(says_the_same_again, window)) == pytest.approx(expected, rel=1e-5)


def test_the_key_reaches_the_model():
    def draws(tokens, key):
        return jax.random.normal(key, (len(tokens), 256))

    first, second = (bits_per_byte(draws, TEXT[:5], jax.random.key(seed)) for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize(("length", "batch"), [(10, 1), (7, 4), (100, 8)])
def test_evaluate_counts_every_byte_of_the_whole_batches_once(length, batch):
    repeats = TEXT[1:] == TEXT[:-1]
    n_predictions = (len(TEXT) - 1) // length // batch * batch * length
    expected = 1 + np.log2(255) * (1 - repeats[:n_predictions].mean())
    model = jax.tree_util.Partial(says_the_same_again)
    bits = evaluate(model, TEXT, length=length, batch=batch, progress=False)
    assert bits == pytest.approx(expected, rel=1e-5)
