"""Exercise 07's experiment: 32 times as many buckets, and how many more rounds to find a pair."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from efftx import attention

N_BUCKETS = (32, 1024)  # one rotation, and two
ROUNDS = (1, 2, 4, 8, 16, 32)
DEGREES, D_HEAD, N_PAIRS, N_ROUNDS, TARGET = 45, 64, 64, 512, 0.95


@cache
def meetings(n_buckets: int) -> np.ndarray:
    """(N_ROUNDS, N_PAIRS) bool: whether two random vectors at this angle share a bucket."""
    directions, rounds = jax.random.split(jax.random.key(0))
    first, other = jax.random.normal(directions, (2, N_PAIRS, D_HEAD))
    first, other = jnp.linalg.qr(jnp.stack([first, other], axis=-1)).Q.transpose(2, 0, 1)
    angle = np.radians(DEGREES)
    second = np.cos(angle) * first + np.sin(angle) * other
    rotations = attention.random_rotations(rounds, D_HEAD, n_buckets, N_ROUNDS)
    buckets = attention.hash_vectors(jnp.concatenate([first, second]), rotations)
    return np.asarray(buckets[:, :N_PAIRS] == buckets[:, N_PAIRS:])


def found_within(n_rounds: int, n_buckets: int) -> float:
    """The share of pairs that so many rounds find, the mean over all that follow each other."""
    runs = sliding_window_view(meetings(n_buckets), n_rounds, axis=0)
    return float(runs.any(axis=-1).mean())


def rounds_with_many_buckets() -> int:
    return next(n for n in range(1, N_ROUNDS) if found_within(n, N_BUCKETS[1]) >= TARGET)
