"""The hash against its formula, and its collisions against the theory."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efftx.attention import (
    collision_probability,
    default_n_buckets,
    factor_buckets,
    hash_vectors,
    random_rotations,
)

LENGTH, D_HEAD, N_HASHES = 50, 8, 3
ANGLES = np.array([0.1, 0.4, 0.8, 1.2, 2.0])  # radians


def some_vectors(length: int = LENGTH, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).normal(size=(length, D_HEAD)), dtype)


def rotations(n_buckets: int, n_hashes: int = N_HASHES, seed: int = 0):
    return random_rotations(jax.random.key(seed), D_HEAD, n_buckets, n_hashes)


def by_formula(x, R):
    """argmax [xR; −xR] of one round and one factor."""
    rotated = np.asarray(x, np.float64) @ np.asarray(R, np.float64)
    return np.concatenate([rotated, -rotated], axis=1).argmax(1)


# The hash


@pytest.mark.parametrize("n_buckets", [2, 16, 202], ids=["two", "one_factor", "2_times_a_prime"])
def test_one_factor_is_the_formula(n_buckets):
    x, (R,) = some_vectors(), rotations(n_buckets)
    assert R.shape == (N_HASHES, D_HEAD, n_buckets // 2)
    ours = hash_vectors(x, (R,))
    assert ours.shape == (N_HASHES, LENGTH)
    assert ours.dtype == jnp.int32
    np.testing.assert_array_equal(ours, [by_formula(x, R[i]) for i in range(N_HASHES)])


def test_factors_combine_like_digits():
    x, (R1, R2) = some_vectors(), rotations(24 * 32)
    radix = 2 * R2.shape[-1]
    theirs = [by_formula(x, R1[i]) * radix + by_formula(x, R2[i]) for i in range(N_HASHES)]
    ours = hash_vectors(x, (R1, R2))
    np.testing.assert_array_equal(ours, theirs)
    assert ours.min() >= 0
    assert ours.max() < 24 * 32


def test_every_bucket_is_used_and_none_beyond():
    ours = hash_vectors(some_vectors(4000), rotations(12, n_hashes=1))
    assert set(ours[0].tolist()) == set(range(12))


def test_only_the_direction_counts():
    x, R = some_vectors(), rotations(64)
    ours = hash_vectors(x, R)
    np.testing.assert_array_equal(hash_vectors(1000 * x, R), ours)
    np.testing.assert_array_equal(hash_vectors(0.25 * x, R), ours)
    assert (hash_vectors(-x, R) != ours).all()  # the opposite direction never collides


def test_bfloat16_vectors_hash_as_the_same_numbers_in_float32():
    x, R = some_vectors(dtype=jnp.bfloat16), rotations(64)
    np.testing.assert_array_equal(hash_vectors(x, R), hash_vectors(x.astype(jnp.float32), R))


def test_another_key_or_round_hashes_otherwise():
    x = some_vectors()
    ours = hash_vectors(x, rotations(64))
    assert (hash_vectors(x, rotations(64, seed=1)) != ours).mean() > 0.5
    assert (ours[0] != ours[1]).mean() > 0.5


# How many buckets, and in which factors


@settings(max_examples=50)
@given(half=st.integers(1, 2**20))
def test_factors_are_even_and_small_or_there_is_but_one(half):
    n_buckets = 2 * half
    radices = factor_buckets(n_buckets)
    assert math.prod(radices) == n_buckets
    assert all(radix % 2 == 0 for radix in radices)
    assert max(radices) <= 32 or len(radices) == 1


@pytest.mark.parametrize(
    ("n_buckets", "radices"),
    [(2, [2]), (32, [32]), (34, [34]), (36, [6, 6]), (64, [8, 8]), (512, [16, 32]), (202, [202])],
)
def test_as_few_factors_as_can_be_and_those_alike(n_buckets, radices):
    assert sorted(factor_buckets(n_buckets)) == radices


@settings(max_examples=20)
@given(length=st.integers(1, 2**20), chunk_len=st.integers(1, 512))
def test_default_is_half_a_chunk_in_a_bucket_and_factors_well(length, chunk_len):
    wanted = 2 * math.ceil(length / chunk_len)
    ours = default_n_buckets(length, chunk_len)
    assert max(factor_buckets(ours)) <= 32
    # The next number that factors: none in between does.
    assert all(max(factor_buckets(n)) > 32 for n in range(wanted, ours, 2))
    assert ours >= wanted


@pytest.mark.parametrize(
    ("length", "chunk_len", "n_buckets"),
    [(1, 64, 2), (64, 64, 2), (65, 64, 4), (16_384, 64, 512), (2**20, 64, 32_768)],
)
def test_default_at_known_sizes(length, chunk_len, n_buckets):
    assert default_n_buckets(length, chunk_len) == n_buckets


# Collisions


@pytest.mark.parametrize("n_hashes", [1, 4])
@pytest.mark.parametrize("n_buckets", [2, 16, 34, 64], ids=["2", "16", "34", "8x8"])
def test_measured_collisions_are_the_predicted_ones(n_buckets, n_hashes):
    """Vectors at known angles, hashed by many independent rotations."""
    n_trials = 5_000
    pair = np.zeros((1 + len(ANGLES), D_HEAD))
    pair[0, 0] = 1
    pair[1:, 0], pair[1:, 1] = np.cos(ANGLES), np.sin(ANGLES)
    hashed = hash_vectors(jnp.asarray(pair, jnp.float32), rotations(n_buckets, 4 * n_trials))
    same = np.asarray(hashed[:, 1:] == hashed[:, :1])
    same = same.reshape(-1, n_hashes, len(ANGLES)).any(1)
    p = np.asarray(collision_probability(ANGLES, n_buckets, n_hashes))
    deviation = np.sqrt(p * (1 - p) / len(same))  # of a binomial frequency
    assert (np.abs(same.mean(0) - p) < 4 * deviation + 2e-4).all()


def test_two_buckets_are_a_random_hyperplane():
    angles = np.linspace(0, np.pi, 9)
    np.testing.assert_allclose(collision_probability(angles, 2), 1 - angles / np.pi, atol=1e-4)


@pytest.mark.parametrize("n_buckets", [4, 32, 512])
def test_collisions_fall_with_the_angle_from_always_to_never(n_buckets):
    p = np.asarray(collision_probability(np.linspace(0, np.pi, 9), n_buckets))
    np.testing.assert_allclose(p[[0, -1]], [1, 0], atol=1e-4)
    assert (np.diff(p) <= 1e-6).all()


def test_factors_and_rounds_are_independent():
    once = np.asarray(collision_probability(ANGLES, 8))
    np.testing.assert_allclose(collision_probability(ANGLES, 64), once**2, rtol=1e-5)
    np.testing.assert_allclose(
        collision_probability(ANGLES, 8, n_hashes=3), 1 - (1 - once) ** 3, rtol=1e-5
    )
    assert collision_probability(0.5, 8).shape == ()
