"""The numbers behind the figures, by hand or by another way; the pictures' tests use them all."""

import numpy as np

from efftx.numbers import attention_is_sparse, hashing, sparse_qkv, your_own_experiments


def test_a_layer_is_the_best_fit_of_itself():
    rng = np.random.default_rng(0)
    w = sparse_qkv.dense_equivalent(rng.normal(size=(6, 2)), rng.normal(size=(6, 3)))
    assert w.shape == (6, 6)
    assert np.allclose(sparse_qkv.dense_equivalent(*sparse_qkv.best_factors(w, 2)), w)


def test_no_factors_are_nearer_than_the_best():
    rng = np.random.default_rng(1)
    w = rng.normal(size=(6, 6))
    d, e = sparse_qkv.best_factors(w, 2)
    best = np.linalg.norm(sparse_qkv.dense_equivalent(d, e) - w)
    for _ in range(20):
        other = sparse_qkv.dense_equivalent(d + 0.1 * rng.normal(size=d.shape), e)
        assert np.linalg.norm(other - w) > best


def test_the_largest_weights_add_up_to_one_again():
    weights, v = np.array([[0.5, 0.3, 0.2]]), np.eye(3)
    out, kept = attention_is_sparse.attend_to_top(weights, v, 2)
    assert np.allclose(kept, [[0.625, 0.375, 0]])
    assert np.allclose(out, kept)


def test_opposite_directions_never_share_a_bucket():
    pair = hashing.directions(np.array([0.3, 0.3 + np.pi]))
    first, second = hashing.buckets_of(pair, hashing.fan(0.1, 4)[None])[0]
    assert first != second


def test_who_stays_at_home():
    assert not your_own_experiments.leaves_home(np.zeros(8, int), 4).any()  # one bucket: in place
    assert your_own_experiments.leaves_home(np.array([1, 1, 0, 0]), 2).all()
