"""Sorting by (bucket, position), where one number to sort by would overflow too."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efftx.attention import sort_by_bucket

SHORT, MILLION = 40, 2**20


@settings(max_examples=25)
@given(
    buckets=st.lists(st.integers(0, 7), min_size=SHORT, max_size=SHORT),
    valid=st.lists(st.booleans(), min_size=SHORT, max_size=SHORT),
)
def test_sorted_by_bucket_then_position_and_padding_last(buckets, valid):
    ours = sort_by_bucket(jnp.array(buckets), 8, jnp.array(valid))
    theirs = sorted(range(SHORT), key=lambda i: (not valid[i], valid[i] and buckets[i], i))
    assert ours.dtype == jnp.int32
    assert ours.tolist() == theirs


@pytest.mark.parametrize(
    ("n_buckets", "fits_in_one_number"),
    [(32_768, False), (4_096, False), (4_095, True)],
    ids=["far_beyond_32_bits", "just_beyond", "just_below"],
)
def test_a_million_positions(n_buckets, fits_in_one_number):
    """With padding, the largest sort key is (n_buckets + 1)·L − 1."""
    rng = np.random.default_rng(0)
    bucket = rng.integers(n_buckets, size=MILLION).astype(np.int32)
    bucket[-1] = n_buckets - 1
    valid = rng.random(MILLION) < 0.9
    valid[-1] = False  # the very last position has the largest key
    ours = sort_by_bucket(jnp.asarray(bucket), n_buckets, jnp.asarray(valid))
    theirs = np.lexsort((np.arange(MILLION), np.where(valid, bucket, n_buckets)))
    np.testing.assert_array_equal(ours, theirs)
    assert ((n_buckets + 1) * MILLION <= 2**32) == fits_in_one_number
