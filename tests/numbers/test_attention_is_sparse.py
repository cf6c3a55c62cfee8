"""The largest weights are kept, and they spend the whole budget."""

import numpy as np
import pytest

from efftx.numbers import attention_is_sparse as numbers

N_LAYERS, N_HEADS, LENGTH = 2, 4, 26
KS = (1, 2, 4, 8, 16, 32)
RNG = np.random.default_rng(0)
SCORES = 3 * RNG.normal(size=(N_LAYERS, N_HEADS, LENGTH, LENGTH))
ALLOWED = np.tri(LENGTH, dtype=bool)
EXP = np.where(ALLOWED, np.exp(SCORES), 0)
WEIGHTS = (EXP / EXP.sum(-1, keepdims=True)).astype(np.float32)
VALUES = RNG.normal(size=(N_LAYERS, N_HEADS, LENGTH, 8)).astype(np.float32)


@pytest.mark.parametrize("k", KS)
def test_each_query_keeps_k_keys_or_all_that_it_has(k):
    kept = numbers.top_k(WEIGHTS, k)
    assert (kept.sum(-1) == np.minimum(k, np.arange(1, LENGTH + 1))).all()
    dropped = np.where(kept | ~ALLOWED, 0, WEIGHTS).max(-1)
    assert (np.where(kept, WEIGHTS, 1).min(-1) >= dropped).all()


def test_of_equal_weights_the_first_are_kept():
    assert numbers.top_k(np.full((1, 4), 0.25), 2).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("k", KS)
def test_kept_weights_spend_the_whole_budget(k):
    out, kept = numbers.attend_to_top(WEIGHTS, VALUES, k)
    np.testing.assert_allclose(kept.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(out, kept @ VALUES, atol=1e-6)


def test_all_keys_give_the_exact_output():
    out, kept = numbers.attend_to_top(WEIGHTS, VALUES, LENGTH)
    np.testing.assert_allclose(kept, WEIGHTS, atol=1e-6)
    np.testing.assert_allclose(out, WEIGHTS @ VALUES, atol=1e-6)


def test_the_largest_weights_add_up_to_one_again():
    weights, v = np.array([[0.5, 0.3, 0.2]]), np.eye(3)
    out, kept = numbers.attend_to_top(weights, v, 2)
    assert np.allclose(kept, [[0.625, 0.375, 0]])
    assert np.allclose(out, kept)
