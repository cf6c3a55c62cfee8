"""The sum that is built up piece by piece is the softmax, in whatever pieces and order."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efftx.attention.online_softmax import OnlineSoftmax

ROWS, N_KEYS, D_VALUE = 4, 12, 3


def scores_and_values(seed: int):
    """Scores of very different size; some keys are not allowed, and row 0 has none at all."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(ROWS, N_KEYS)) * 10 ** rng.uniform(-1, 2, (ROWS, 1))
    scores[rng.random((ROWS, N_KEYS)) < 0.3] = -np.inf
    scores[0], scores[1:, 0] = -np.inf, 0
    return scores.astype(np.float32), rng.normal(size=(N_KEYS, D_VALUE)).astype(np.float32)


def softmax_of(scores, v):
    scores, v = scores.astype(np.float64), v.astype(np.float64)
    p = np.exp(scores - scores.max(1, keepdims=True))
    return p @ v / p.sum(1, keepdims=True), scores.max(1) + np.log(p.sum(1))


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.permutations(range(3)))
def test_pieces_in_any_order(seed, order):
    scores, v = scores_and_values(seed)
    state = OnlineSoftmax.empty(ROWS, jnp.ones((1, D_VALUE)))
    for piece in order:
        keys = slice(4 * piece, 4 * piece + 4)
        state = state.add(jnp.asarray(scores[:, keys]), jnp.asarray(v[keys]))
    out, lse = state.finish()
    expected_out, expected_lse = softmax_of(scores[1:], v)
    np.testing.assert_allclose(out[1:], expected_out, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(lse[1:], expected_lse, rtol=1e-5, atol=1e-5)


def test_a_row_without_keys_is_zero_with_an_infinite_log_sum_exp():
    """So that exp(score − log-sum-exp), the weight in a backward pass, is 0 there."""
    scores, v = map(jnp.asarray, scores_and_values(0))
    out, lse = OnlineSoftmax.of(scores, v).finish()
    np.testing.assert_array_equal(out[0], np.zeros(D_VALUE))
    assert lse[0] == jnp.inf
    assert jnp.isfinite(lse[1:]).all()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_scores_too_large_to_exponentiate(size):
    scores, v = jnp.full((1, 2), size, jnp.float32), jnp.array([[1.0], [3.0]])
    out, lse = OnlineSoftmax.of(scores, v).finish()
    np.testing.assert_allclose(out, [[2.0]], rtol=1e-6)
    np.testing.assert_allclose(lse, size + np.log(2), rtol=1e-6)
