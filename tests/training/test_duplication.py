"""The duplication task: what is asked, what is counted, and that a part of it is a part of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import Shared, Sizes, transformer
from efftx.training.duplication import (
    N_SYMBOLS,
    VOCAB,
    accuracy,
    batch_at,
    excerpt_loss,
    excerpts_at,
    loss,
    standing_at,
)
from efftx.training.loop import train
from efftx.training.optimisers import adamw

SIZES = Sizes(n_layers=1, d_model=16, d_ff=16, n_heads=2, d_head=8, max_len=24, vocab=VOCAB)
MODEL = transformer(jax.random.key(0), SIZES, kind=Shared())


def copies(tokens, key=None):
    """A model that knows the length 24: it gives the symbol 11 places back all its weight."""
    return 50.0 * jax.nn.one_hot(jnp.roll(tokens, 11), VOCAB)


def test_a_sequence_is_twice_zero_and_the_same_symbols():
    batch = batch_at(0, seed=0, length=24, batch=200)
    assert batch.shape == (200, 24)
    np.testing.assert_array_equal(batch[:, :12], batch[:, 12:])
    assert (batch[:, 0] == 0).all()
    assert set(batch[:, 1:12].ravel()) == set(range(1, VOCAB))


def test_batches_are_those_of_the_seed_and_the_step():
    def batch(seed, step):
        return batch_at(step, seed=seed, length=8, batch=4)

    np.testing.assert_array_equal(batch(3, 5), batch(3, 5))
    assert (batch(3, 5) != batch(3, 6)).any()
    assert (batch(3, 5) != batch(4, 5)).any()


def test_who_copies_is_always_right():
    batch = batch_at(0, seed=0, length=24, batch=8)
    model = jax.tree_util.Partial(copies)
    assert float(accuracy(model, batch)) == 1
    assert float(loss(copies, batch[0])) == pytest.approx(0, abs=1e-6)


def test_the_first_copy_does_not_count():
    """Changed symbols of the first copy mislead the one who copies, in these places only."""
    batch = batch_at(0, seed=0, length=24, batch=8)
    batch[:, 3:6] = batch[:, 3:6] % N_SYMBOLS + 1
    assert float(accuracy(jax.tree_util.Partial(copies), batch)) == pytest.approx(8 / 11)


def test_knowing_nothing_costs_the_logarithm_of_the_number_of_symbols():
    def knows_the_symbols(tokens, key=None):
        return jnp.zeros((len(tokens), VOCAB)).at[:, 0].set(-1e9)

    (sequence,) = batch_at(0, seed=0, length=24, batch=1)
    assert float(loss(knows_the_symbols, sequence)) == pytest.approx(np.log(N_SYMBOLS))


def test_the_key_reaches_the_model_another_for_each_sequence():
    def guesses(tokens, key):
        return jax.nn.one_hot(jax.random.randint(key, tokens.shape, 1, VOCAB), VOCAB)

    batch = np.repeat(batch_at(0, seed=0, length=2 + 2 * 500, batch=1), 2, axis=0)
    keys = [jax.random.key(i) for i in range(8)]  # two may be right equally often by chance
    right = {float(accuracy(jax.tree_util.Partial(guesses), batch, key)) for key in keys}
    assert len(right) > 1
    assert max(right) < 0.05
    assert len({float(loss(guesses, batch[0], key)) for key in keys}) > 1


# Excerpts --------------------------------------------------------------------------------------


def test_an_excerpt_is_the_same_places_of_both_copies():
    whole = batch_at(7, seed=1, length=24, batch=50)
    symbols, positions = excerpts_at(7, seed=1, length=24, batch=50, window=8)
    assert symbols.shape == positions.shape == (50, 8)
    np.testing.assert_array_equal(symbols, np.take_along_axis(whole, positions, axis=1))
    np.testing.assert_array_equal(symbols[:, :4], symbols[:, 4:])
    np.testing.assert_array_equal(positions[:, 4:] - positions[:, :4], 12)
    np.testing.assert_array_equal(np.diff(positions[:, :4]), 1)
    assert set(positions[:, 0]) == set(range(9))  # every stretch that fits


def test_an_excerpt_as_long_as_the_whole_is_the_whole():
    symbols, positions = excerpts_at(7, seed=1, length=24, batch=4, window=24)
    np.testing.assert_array_equal(symbols, batch_at(7, seed=1, length=24, batch=4))
    np.testing.assert_array_equal(positions, np.tile(np.arange(24), (4, 1)))
    example = symbols[0], positions[0]
    expected = float(loss(MODEL, symbols[0]))
    assert float(excerpt_loss(MODEL, example)) == pytest.approx(expected, rel=1e-6)


def test_tokens_of_an_excerpt_have_the_vectors_that_they_have_in_the_whole():
    symbols, positions = (each[0] for each in excerpts_at(0, seed=0, length=24, batch=1, window=8))
    whole = batch_at(0, seed=0, length=24, batch=1)[0]
    np.testing.assert_array_equal(
        standing_at(MODEL, positions).embedding(symbols), MODEL.embedding(whole)[positions]
    )


def test_an_excerpt_teaches_the_positions_that_it_shows():
    symbols, positions = (each[0] for each in excerpts_at(0, seed=0, length=24, batch=1, window=8))
    gradient = jax.grad(excerpt_loss)(MODEL, (symbols, positions)).embedding.positions
    taught = np.flatnonzero(np.abs(gradient).max(axis=1))
    assert set(taught) == set(positions[:-1])  # the last one predicts nothing


def test_a_layer_learns_to_copy():
    """Short and with a wide layer, to be quick; far from chance is enough."""
    sizes = Sizes(n_layers=1, d_model=64, d_ff=64, n_heads=4, d_head=16, max_len=8, vocab=VOCAB)
    state = train(
        transformer(jax.random.key(0), sizes, kind=Shared()),
        loss=loss,
        batch_at=lambda step: batch_at(step, seed=0, length=8, batch=64),
        optimiser=adamw(300, peak=1e-2),
        n_steps=300,
        progress=False,
    )
    assert state.losses[0] == pytest.approx(np.log(VOCAB), abs=0.1)
    assert float(accuracy(state.model, batch_at(300, seed=0, length=8, batch=64))) > 0.9
