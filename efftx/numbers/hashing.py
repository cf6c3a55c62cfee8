"""The geometry of chapter 07's circles: directions, buckets, and who finds whom."""

import math
from functools import cache

import jax.numpy as jnp
import numpy as np

from efftx.attention import hash_vectors

N_DIRECTIONS = 720  # of the circle, hashed to find where its arcs begin and end
N_TURNS = 200  # that the widget has drawn, of which its slider shows the first
TURNS = np.random.default_rng(0).uniform(0, 2 * math.pi, N_TURNS)


def directions(angles) -> np.ndarray:
    """(n,) angles in radians -> (n, 2) vectors of length one."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def fan(turn: float | int, n_buckets: int) -> np.ndarray:
    """(2, n_buckets / 2): axes at equal angles on the half circle, turned by ``turn`` radians."""
    return directions(turn + 2 * math.pi / n_buckets * np.arange(n_buckets // 2)).T


def buckets_of(vectors: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """(n, 2) vectors, (n_hashes, 2, n_buckets / 2) -> (n_hashes, n)."""
    as_jax = jnp.asarray(vectors, jnp.float32), (jnp.asarray(rotations, jnp.float32),)
    return np.asarray(hash_vectors(*as_jax))


@cache
def shares_together(n_buckets: int) -> np.ndarray:
    """(181,): in which share of the widget's turns vectors 0, 1, … degrees apart share a bucket."""
    rotations = np.stack([fan(turn, n_buckets) for turn in TURNS])
    buckets = buckets_of(directions(np.radians(np.arange(181))), rotations)
    return (buckets == buckets[:, :1]).mean(0)


def found_by(buckets: np.ndarray) -> np.ndarray:
    """(n_hashes, length) -> (length, length): earlier keys that share a bucket in some round."""
    return np.tril((buckets[:, :, None] == buckets[:, None, :]).any(0), -1)
