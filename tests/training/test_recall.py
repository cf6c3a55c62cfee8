"""Associative recall: what a text holds, at which distances it asks, and who is right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.models import Shared, Sizes, transformer
from efftx.training.loop import train
from efftx.training.optimisers import adamw
from efftx.training.recall import (
    N_FILLERS,
    N_KEYS,
    N_VALUES,
    VOCAB,
    accuracy_by_distance,
    is_right,
    log_uniform,
    loss,
    texts_at,
)

DISTANCES = (2, 64, 6, 64, 250, 20)
TEXTS = texts_at(3, seed=1, length=300, batch=40, distances=DISTANCES)


def is_key(symbols):
    return (symbols >= N_VALUES) & (symbols < N_VALUES + N_KEYS)


def test_each_key_stands_twice_at_its_distance_with_its_value_behind_it():
    for symbols, asked in zip(*TEXTS, strict=True):
        keys = symbols[asked]
        assert is_key(keys).all()
        assert len(set(keys)) == len(DISTANCES)
        for place, distance in zip(asked, DISTANCES, strict=True):
            both = np.flatnonzero(symbols == symbols[place])
            assert both.tolist() == [place - distance, place]
            assert symbols[place + 1] == symbols[place - distance + 1] < N_VALUES


def test_all_else_is_filler():
    places = np.arange(300)
    for symbols, asked in zip(*TEXTS, strict=True):
        pairs = np.concatenate([asked, asked + 1, asked - DISTANCES, asked - DISTANCES + 1])
        assert (symbols[np.setdiff1d(places, pairs)] >= VOCAB - N_FILLERS).all()
        assert len(set(pairs)) == 4 * len(DISTANCES)


def test_all_symbols_and_all_places_occur():
    occur = np.unique(TEXTS.symbols)
    assert set(occur) >= set(range(VOCAB - N_FILLERS, VOCAB))
    assert len(occur) > 0.8 * VOCAB
    first = texts_at(0, seed=0, length=8, batch=50, distances=(2,)).asked - 2
    assert set(first.ravel()) == {0, 2, 4}  # a question may be the last thing in a text


def test_texts_are_those_of_the_seed_and_the_step():
    def symbols(seed, step):
        return texts_at(step, seed=seed, length=32, batch=2, distances=(4, 8)).symbols

    np.testing.assert_array_equal(symbols(3, 5), symbols(3, 5))
    assert (symbols(3, 5) != symbols(3, 6)).any()
    assert (symbols(3, 5) != symbols(4, 5)).any()


def test_values_are_drawn_evenly():
    values = np.take_along_axis(TEXTS.symbols, TEXTS.asked + 1, axis=1)
    assert len(np.unique(values)) > 0.9 * N_VALUES
    assert abs(values.mean() - (N_VALUES - 1) / 2) < 4


def test_log_uniform_distances_have_all_sizes_alike():
    distances = log_uniform(0, seed=0, n=6000, longest=128)
    assert (distances % 2 == 0).all()
    assert (distances.min(), distances.max()) == (2, 126)
    shares = np.histogram(distances, [2, 4, 8, 16, 32, 64, 128])[0] / 6000
    np.testing.assert_allclose(shares, 1 / 6, atol=0.02)


@pytest.mark.parametrize(
    ("distances", "sentence"),
    [
        ((3,), r"even, from 2 to 30; got \[3\]"),
        ((0,), r"even, from 2 to 30; got \[0\]"),
        ((4, 32), r"even, from 2 to 30; got \[32\]"),
        ((), "1 to 128 pairs.*got 0"),
        ((2,) * 129, "1 to 128 pairs.*got 129"),
        (np.array([2.0]), "whole numbers"),
        ((30, 30), "no room for 2 pairs in 16 slots"),
    ],
)
def test_what_cannot_be_is_refused(distances, sentence):
    with pytest.raises(ValueError, match=sentence):
        texts_at(0, seed=0, length=32, batch=1, distances=distances)


# A model is what has last_vectors and a readout:


@jax.tree_util.register_static
class LooksBack:
    """Knows what stood behind the last occurrence of a symbol, at most so many places back."""

    def __init__(self, reach):
        self.reach = reach

    def last_vectors(self, symbols, key=None):
        at = jnp.arange(len(symbols))
        back = at[:, None] - at
        seen = (symbols[:, None] == symbols) & (back > 0) & (back <= self.reach)
        behind = jnp.where(seen.any(1), symbols[jnp.argmax(seen, axis=1) + 1], 0)
        return 50.0 * jax.nn.one_hot(behind, VOCAB)

    def readout(self, x):
        return x


def test_who_looks_back_far_enough_is_right():
    right = accuracy_by_distance(LooksBack(100), TEXTS, DISTANCES)
    assert list(right) == sorted(set(DISTANCES))
    assert all(right[distance] == 1 for distance in (2, 6, 20, 64))
    assert right[250] < 0.1


def test_the_loss_is_that_of_the_answers_alone():
    text = TEXTS.symbols[0], TEXTS.asked[0]
    assert float(loss(LooksBack(300), text)) == pytest.approx(0, abs=1e-6)
    assert is_right(LooksBack(300), text).all()
    n_wrong = 1  # the longest distance, where its guess has no weight
    assert float(loss(LooksBack(100), text)) == pytest.approx(n_wrong * 50 / 6, abs=0.1)


def test_a_model_learns_it():
    sizes = Sizes(n_layers=2, d_model=32, d_ff=32, n_heads=2, d_head=16, max_len=16, vocab=VOCAB)
    state = train(
        transformer(jax.random.key(0), sizes, kind=Shared()),
        loss=loss,
        batch_at=lambda step: texts_at(step, seed=0, length=16, batch=8, distances=(2, 6)),
        optimiser=adamw(40, peak=1e-2),
        n_steps=40,
        vocab=np.inf,
        progress=False,
    )
    losses = np.asarray(state.losses)
    assert losses[-5:].mean() < losses[:5].mean() - 0.5
