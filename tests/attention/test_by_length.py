"""Buckets of a padded text are those of the text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from efftx.attention import default_n_buckets, hash_vectors, random_rotations
from efftx.attention.by_length import hash_by_length, radices_by_chunks

KEY = jax.random.key(3)
X = jax.random.normal(jax.random.key(0), (300, 6))


def of_the_text(x, n_hashes, chunk_len):
    n_buckets = default_n_buckets(len(x), chunk_len)
    return hash_vectors(x, random_rotations(KEY, x.shape[1], n_buckets, n_hashes))


@pytest.mark.parametrize("n_tokens", [1, 7, 8, 9, 100, 135, 136, 299, 300])
def test_they_are_those_of_the_text_without_its_padding(n_tokens):
    ours = jax.jit(lambda n: hash_by_length(X, KEY, n, n_hashes=3, chunk_len=4))(n_tokens)
    np.testing.assert_array_equal(ours[:, :n_tokens], of_the_text(X[:n_tokens], 3, 4))


def test_every_text_of_a_batch_has_its_own():
    lengths = jnp.array([5, 60, 300])
    hashed = jax.vmap(lambda n: hash_by_length(X, KEY, n, n_hashes=2, chunk_len=8))(lengths)
    for n, ours in zip(lengths, hashed, strict=True):
        np.testing.assert_array_equal(ours[:, :n], of_the_text(X[:n], 2, 8))


def test_there_are_several_factors_in_these_tests():
    """Else they would not notice one that is forgotten."""
    assert radices_by_chunks(75, 4).shape == (75, 2)
    assert radices_by_chunks(1024, 1).shape == (1024, 3)
    assert radices_by_chunks(75, 4)[0].tolist() == [2, 1]


def test_three_factors():
    x = jax.random.normal(jax.random.key(1), (700, 4))
    ours = hash_by_length(jnp.pad(x, ((0, 300), (0, 0))), KEY, 700, n_hashes=2, chunk_len=1)
    np.testing.assert_array_equal(ours[:, :700], of_the_text(x, 2, 1))
